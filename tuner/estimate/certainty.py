"""What a number of seeds buys in certainty of the verdict, in closed form.

Differences are a ticket's score minus the dense network's for the same seed, in points (100 x
accuracy), normal over seeds. scipy.special alone: a plan loads nothing heavier.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
MARGIN = 1.0
"""Points that a ticket may be below dense and still count as no worse."""

# At this non-centrality the power is 1 to eight digits; beyond it scipy's series ends in nan.
_CERTAIN = 37


@dataclass(frozen=True)
class Certainty:
    """What n seeds a level say about one ticket.

    bounds: half-width in points, one for each metric; one_std, non_inferiority: probability in
    [0, 1] that a ticket identical to dense passes all metrics under the rule.
    """

    seeds: int
    bounds: tuple[float, ...]
    one_std: float
    non_inferiority: float


def certainty(seeds: int, spreads: Sequence[float]) -> Certainty:
    """`spreads`: for each metric the standard deviation over seeds of a paired difference, in
    points. Metrics are taken to be independent."""
    return Certainty(
        seeds,
        tuple(half_width(seeds, spread) for spread in spreads),
        one_std_passes(seeds) ** len(spreads),
        math.prod(non_inferiority_passes(seeds, spread) for spread in spreads),
    )


def half_width(seeds: int, spread: float) -> float:
    """Expected distance from the mean difference to its one-sided 95 % bound: t s / sqrt(n); of
    one seed there is none, which counts as infinite."""
    from scipy.special import stdtrit

    if seeds < 2:
        return math.inf
    return float(stdtrit(seeds - 1, CONFIDENCE)) * spread / math.sqrt(seeds)


def one_std_passes(seeds: int) -> float:
    """Probability that a metric of an identical, independently trained network is no more than one
    dense standard deviation below the dense mean, both of `seeds` seeds.

    (mean - dense mean) / (sqrt(2 / n) dense std) has Student's t distribution with n - 1 degrees of
    freedom, so it is above -sqrt(n / 2) with probability T(sqrt(n / 2)). One seed has no deviation:
    1/2. Whatever the deviation, it does not enter.
    """
    from scipy.special import stdtr

    if seeds < 1:
        return 0.0
    return float(stdtr(seeds - 1, math.sqrt(seeds / 2))) if seeds > 1 else 0.5


def non_inferiority_passes(seeds: int, spread: float, margin: float = MARGIN) -> float:
    """Power of the one-sided paired t-test at 95 % to show, of an identical network, that it is
    less than `margin` points below dense.

    The test statistic has the non-central t distribution with n - 1 degrees of freedom and
    non-centrality margin sqrt(n) / spread.
    """
    from scipy.special import nctdtr, stdtrit

    if seeds < 2:
        return 0.0
    if spread * _CERTAIN < margin * math.sqrt(seeds):
        return 1.0
    critical, shift = stdtrit(seeds - 1, CONFIDENCE), margin * math.sqrt(seeds) / spread
    return 1.0 - float(nctdtr(seeds - 1, shift, critical))


def affordable(budget: float, remaining: float, seeds: float, seconds_a_seed: float) -> int:
    """Seeds a level that `budget` seconds pay for, where a study of `seeds` seeds takes `remaining`
    more seconds and each seed further adds (or fewer saves) `seconds_a_seed`."""
    if seconds_a_seed <= 0:
        return int(seeds)
    return max(0, math.floor(seeds + (budget - remaining) / seconds_a_seed))
