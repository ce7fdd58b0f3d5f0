"""Clocks that are set while something runs change labels, never durations."""

import time

import pytest
import torch

from trainables.store.records import now, provenance
from tuner.storage.entries import seconds, summary


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_result_took_what_it_took(monkeypatch, jump):
    wall, ticks = [1e9], [50.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic", lambda: ticks[0])
    started = now()
    wall[0] += 7 + jump
    ticks[0] += 7
    record = provenance(started, torch.device("cpu"))
    assert record["started"] == 1e9
    assert record["ended"] - record["started"] == pytest.approx(7)


def test_an_interrupted_training_took_all_its_epochs():
    """`started` and `ended` are of the process that ended it; epochs are of all."""
    whole = {"started": 100.0, "ended": 107.0, "epochs": [{"seconds": 2.0}] * 3}
    resumed = {"started": 100.0, "ended": 103.0, "epochs": [{"seconds": 2.0}] * 3}
    assert (seconds(whole), seconds(resumed)) == (7, 6)
    assert seconds({"started": 1.0, "ended": 3.5}) == 2.5
    assert summary({"started": 1.0, "ended": 3.5})["seconds"] == 2.5
