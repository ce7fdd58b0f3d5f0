"""How many transfers share a GPU, by made-up times of steps; on a real GPU this has not run."""

from dataclasses import replace

import pytest

from search_spaces.reading import studies
from trainables.store.ledger import Ledger
from tuner.cluster.capacity import Capacity
from tuner.estimate import packing, prices
from tuner.estimate.prices import Price
from tuner.scheduling.worklist import worklist

ONE_GPU = Capacity(cpus=16, gpus=1, workers=1, trial_cpus=1, trial_gpus=1)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 1, 2: 1, 4: 1, 8: 1}, 8),  # bound by launches: as if each were alone
        ({1: 1, 2: 2, 4: 4, 8: 8}, 1),  # bound by arithmetic
        ({1: 1, 2: 1.25, 4: 2.5, 8: 5}, 2),
        ({1: 1, 2: 1.02}, 2),  # four do not fit
        ({1: 1, 2: 1.96, 4: 3.9, 8: 7.8}, 1),  # what eight gain is not worth their memory
        ({}, 1),
    ],
)
def test_the_best_crowd_is_the_smallest_that_is_nearly_as_fast_as_any(seconds, expected):
    assert packing.best_crowd(seconds.get) == expected


def test_a_capacity_is_packed_by_what_was_timed_on_its_gpu(tmp_path, monkeypatch):
    """One GPU, on which four steps take twice as long as one, and eight do not fit."""
    timed = []

    def meter(steps, where):
        timed.append(where.copies)
        seconds = {1: 0.01, 2: 0.012, 4: 0.02}
        return {s: Price(seconds[where.copies], 1) for s in steps if where.copies in seconds}

    monkeypatch.setattr(prices, "gpu_names", lambda: ("H200",))
    monkeypatch.setattr(prices, "known", lambda steps, where: {})
    monkeypatch.setattr(prices, "timed", meter)
    work, said = worklist(studies.load("quickstart"), Ledger(tmp_path)), []
    capacity = packing.packed(ONE_GPU, work, said.append)
    assert timed == [1, 2, 4, 8]
    assert capacity == replace(ONE_GPU, trial_gpus=0.25)
    assert (capacity.trials, capacity.chains(3), capacity.beside(3)) == (4, 3, 1)
    assert len(said) == 1 and said[0].startswith("4 ")


def test_without_a_gpu_nothing_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(prices, "timed", lambda *_: pytest.fail("timed"))
    work = worklist(studies.load("quickstart"), Ledger(tmp_path))
    capacity = Capacity(cpus=2, gpus=0, workers=1, trial_cpus=1, trial_gpus=0)
    assert packing.packed(capacity, work, print) == capacity


def test_the_heaviest_step_is_the_one_with_most_passes(tmp_path):
    step = packing.heaviest(worklist(studies.load("quickstart"), Ledger(tmp_path)))
    assert (step.regime.attack.kind, step.images) == ("pgd", 64)
