"""What a study takes of the disk."""

import math
from dataclasses import dataclass

from trainables.estimate.work import Net, net
from tuner.cluster.capacity import Capacity
from tuner.estimate.prices import Prices
from tuner.estimate.workload import Workload

_BLOCK = 4096
"""Bytes: what a file or folder takes at least, and in steps of which it grows."""
# A result has a folder, spec.json, SHA256SUMS; its result.json; an epoch in that.
_FIXED, _RESULT, _EPOCH = 3 * _BLOCK, 1_200, 250
# A run in MLflow's database, and an epoch in it, as seen.
_MLFLOW_RUN, _MLFLOW_EPOCH = 16_000, 1_500
# A training's progress: weights, momentum and the best weights so far, four bytes each; the next
# is written beside the last.
_KEPT = 2 * 3 * 4


@dataclass(frozen=True)
class Disk:
    """Bytes that results and their MLflow copies take, and that unfinished trainings take beside
    them while a study runs."""

    results: float
    mlflow: float
    unfinished: float


def disk(work: Workload, prices: Prices, capacity: Capacity) -> Disk | None:
    """The disk that a study's work will take; None where a network's size is not known."""
    results = mlflow = 0.0
    kept = [0]
    for chain in work.chains:
        sizes = _weights(chain.net, prices)
        if sizes is None:
            return None
        parameters, prunable = sizes
        kept.append(_KEPT * parameters * capacity.chains(len(work.chains)))
        # A weight takes four bytes, a mask's place one; MLflow has a copy of each mask.
        results += chain.thetas * _result(4 * parameters)
        results += chain.tickets * _result(prunable)
        mlflow += (_blocks(prunable) + _MLFLOW_RUN) * chain.tickets + _MLFLOW_RUN * chain.thetas
    for kind, count in work.transfers.items():
        epochs = kind.regime.recipe.epochs
        results += count * _result(2 * work.test_images(kind), epochs)
        mlflow += count * (_MLFLOW_RUN + _MLFLOW_EPOCH * epochs)
        if sizes := _weights(net(kind.model, kind.dataset), prices):
            kept.append(_KEPT * sizes[0] * capacity.trials)
    return Disk(results, mlflow, max(kept))


def _result(payload: float, epochs: int = 0) -> float:
    """A result with one file of a size beside its records."""
    return _FIXED + _blocks(_RESULT + _EPOCH * epochs) + _blocks(payload)


def _blocks(size: float) -> float:
    return float(_BLOCK * math.ceil(size / _BLOCK))


def _weights(of: Net, prices: Prices) -> tuple[int, int] | None:
    """(parameters, prunable) of a network."""
    known = (price for step, price in prices.items() if step.net == of)
    price = next(known, None)
    return (price.parameters, price.prunable) if price else None
