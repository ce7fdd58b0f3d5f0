"""The transfer stage hands its jobs to Ray Tune in chunks."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tuner.scheduling.queue import Queue
from tuner.stages import transfer
from tuner.stages.transfer import QueueSearcher


def test_a_queue_takes_a_chunk_and_says_if_another_is_to_follow(monkeypatch):
    monkeypatch.setattr(transfer, "CHUNK", 2)
    queue = Queue("abc")
    first, second = (QueueSearcher(queue, lambda job: {"key": job}, lambda: None) for _ in range(2))
    assert [first.suggest(trial) for trial in "123"] == [{"key": "a"}, {"key": "b"}, "FINISHED"]
    first.on_trial_complete("1")
    first.on_trial_complete("2")
    assert first.continues
    assert [second.suggest(trial) for trial in "12"] == [{"key": "c"}, None]
    second.on_trial_complete("1")
    assert queue.over
    assert not second.continues


@pytest.mark.long
def test_every_transfer_is_trained_in_some_chunk(tmp_path):
    """In a process of its own: what Ray reads when it is imported counts."""
    code = """
from tuner.bench import measure
chunks, stages = [], measure._stages
def in_chunks(*arguments):
    from tuner.stages import transfer
    transfer.CHUNK, chunk = 9, transfer._chunk
    def counted(*arguments):
        searcher = chunk(*arguments)
        chunks.append(searcher.continues)
        return searcher
    transfer._chunk = counted
    return stages(*arguments)
measure._stages = in_chunks
# It reads the result of each of them.
print(measure.stages().transfers, chunks)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "24 [True, True, False]\n"), done.stderr
