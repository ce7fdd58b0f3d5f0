"""How many transfers run beside so many chains."""

import pytest

from tuner.cluster.capacity import Capacity


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "trial", "chains", "expected"),
    [
        (2, 0, 1, (1, 0), 3, 0),  # three chains share two cores
        (2, 0, 1, (1, 0), 2, 0),
        (2, 0, 1, (1, 0), 1, 1),
        (2, 0, 2, (1, 0), 1, 0),  # two processes of one chain
        (8, 0, 1, (0.5, 0), 3, 10),
        (8, 0, 1, (2, 0), 3, 2),  # one core is left over
        (16, 1, 1, (1, 1), 1, 0),  # the card is the chain's
        (16, 2, 1, (1, 0.25), 3, 5),  # chains share cards with them
        (16, 2, 1, (1, 0.25), 8, 0),
        (16, 4, 2, (1, 0.25), 1, 8),  # but not where several processes work on one
        (32, 8, 2, (1, 1), 3, 2),
        (5, 1, 2, (1, 0.5), 2, 1),  # no card for each process: chains are on CPUs
        (8, 1, 1, (2, 0), 1, 3),  # transfers are
    ],
)
def test_transfers_fit_beside_chains(cpus, gpus, workers, trial, chains, expected):
    capacity = Capacity(cpus, gpus, workers, *trial)
    assert capacity.beside(chains) == expected
    assert capacity.beside(0) == capacity.trials > capacity.beside(chains)


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "share", "expected"),
    [(2, 0, 1, 0, 4), (2, 0, 2, 0, 2), (8, 1, 1, 1, 1), (8, 1, 1, 0.25, 4), (8, 2, 2, 0.25, 1)],
)
def test_chains_side_by_side(cpus, gpus, workers, share, expected):
    capacity = Capacity(cpus, gpus, workers, trial_cpus=1, trial_gpus=share)
    assert [capacity.chains(wanted) for wanted in (0, 1, 99)] == [1, 1, expected]
