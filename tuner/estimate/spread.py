"""How much scores vary over seeds: pooled over a study's finished transfers, else assumed."""

from collections import defaultdict
from dataclasses import dataclass
from math import sqrt
from statistics import variance

from search_spaces.grid import DENSE, TransferCell
from trainables.store.ledger import Ledger
from tuner.storage.state import Standing

METRICS = (("sa", "standard"), ("sa", "adversarial"), ("ra", "adversarial"))
ASSUMED = (0.3, 0.5, 0.8)
"""Standard deviation of one network's score over seeds, in points, where nothing is known."""
# Differences enough for a pooled deviation within a few per cent; reading more would take long.
_TRANSFERS_A_TASK = 150


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of paired differences to dense, in points, one for each of METRICS;
    groups: how many levels they are pooled from, 0 where they are assumed."""

    values: tuple[float, ...]
    groups: int


def spreads(stands: Standing, ledger: Ledger) -> Spreads:
    """Of the difference between a ticket and the dense network of the same seed, over seeds.

    Assumed where no level has two seeds: sqrt(2) times one network's, as if pairing gained nothing.
    """
    scores = _scores(stands, ledger)
    found = [_pooled(scores, score, regime) for score, regime in METRICS]
    values = tuple(
        value if value is not None else sqrt(2) * assumed
        for (value, _), assumed in zip(found, ASSUMED, strict=True)
    )
    return Spreads(values, min(groups for _, groups in found))


Place = tuple[str | int | float, ...]


def _scores(stands: Standing, ledger: Ledger) -> dict[Place, dict[str, float]]:
    """(theta, dataset, fraction, regime, pruning, level, seed) -> test scores."""
    read: defaultdict[Place, int] = defaultdict(int)
    found = {}
    for cell, done in stands.transfers:
        task = _place(cell)[1:4]
        if done and read[task] < _TRANSFERS_A_TASK:
            read[task] += 1
            found[_place(cell)] = ledger.result(cell.transfer)["test"]
    return found


def _place(cell: TransferCell) -> Place:
    names = ("theta", "dataset", "fraction", "regime", "pruning", "level", "seed")
    return tuple(cell.labels[name] for name in names)


def _pooled(
    scores: dict[Place, dict[str, float]], score: str, regime: str
) -> tuple[float | None, int]:
    """(standard deviation in points, levels with two seeds or more)."""
    differences: defaultdict[Place, list[float]] = defaultdict(list)
    for place, value in scores.items():
        dense = scores.get((*place[:4], DENSE, 0, place[-1]))
        if place[3] == regime and place[4] != DENSE and dense:
            differences[place[:-1]].append(100 * (value[score] - dense[score]))
    groups = [values for values in differences.values() if len(values) > 1]
    if not groups:
        return None, 0
    freedom = sum(len(values) - 1 for values in groups)
    squares = sum(variance(values) * (len(values) - 1) for values in groups)
    return sqrt(squares / freedom), len(groups)
