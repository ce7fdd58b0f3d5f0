"""The transfer stage hands its jobs to Ray Tune in chunks."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tuner.scheduling.queue import Schedule
from tuner.stages import transfer
from tuner.stages.transfer import _Queue


def test_a_queue_takes_a_lot_and_says_if_another_is_to_follow(monkeypatch):
    monkeypatch.setattr(transfer, "CHUNK", 2)
    schedule = Schedule("abc")
    first, second = (_Queue(schedule, lambda job: {"key": job}, lambda: None) for _ in range(2))
    assert [first.suggest(trial) for trial in "123"] == [{"key": "a"}, {"key": "b"}, "FINISHED"]
    first.on_trial_complete("1")
    first.on_trial_complete("2")
    assert first.continues
    assert [second.suggest(trial) for trial in "12"] == [{"key": "c"}, None]
    second.on_trial_complete("1")
    assert schedule.over
    assert not second.continues


@pytest.mark.long
def test_every_transfer_is_trained_in_some_lot(tmp_path):
    """In a process of its own: what Ray reads when it is imported counts."""
    code = """
from tuner import bench
chunks, stages = [], bench._stages
def in_lots(*arguments):
    from tuner import transfer_stage
    transfer_stage.CHUNK, chunk = 9, transfer_stage._chunk
    def counted(*arguments):
        queue = chunk(*arguments)
        chunks.append(queue.continues)
        return queue
    transfer_stage._chunk = counted
    return stages(*arguments)
bench._stages = in_lots
# It reads the result of each of them.
print(bench.stages().transfers, chunks)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "24 [True, True, False]\n"), done.stderr
