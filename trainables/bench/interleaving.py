"""Contenders measured side by side, and what their numbers say. Pure: imports no torch.

Machines are never quiet and clocks drift, so absolute times say little. Contenders take turns (A B
C, A B C, ...), and what is compared is the ratio within a round.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Quartiles:
    """The median of some numbers, and their quartiles."""

    median: float
    low: float
    high: float


def interleave(
    contenders: Mapping[str, Callable[[], float]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[float]]:
    """Asks every contender in turn, round after round, until `seconds` have passed by `clock`, and
    for LEAST_ROUNDS rounds at least. A contender does a piece of work and says what it measured; a
    round that warms up is not counted. Returns each one's numbers, one a round."""
    for contender in contenders.values():
        contender()
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    started = clock()
    rounds = 0
    while rounds < LEAST_ROUNDS or clock() - started < seconds:
        for name, contender in contenders.items():
            measured[name].append(contender())
        rounds += 1
    return measured


def ratios(numbers: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each round's number over the same round's base. Raises ValueError if rounds are missing."""
    return [number / other for number, other in zip(numbers, base, strict=True)]


def quartiles(numbers: Sequence[float]) -> Quartiles:
    """Median and quartiles of at least one number."""
    if len(numbers) == 1:
        return Quartiles(*[float(numbers[0])] * 3)
    low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return Quartiles(median, low, high)
