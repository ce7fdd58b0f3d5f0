"""Non-inferiority: a level matches when the data show that it loses less than a margin.

For every metric the difference to the dense network gets one-sided confidence bounds. A level
matches when all lower bounds lie above -margin; each is taken at the full confidence, because a
claim that needs all of them is wrong only if one of them is (intersection-union test, Berger 1982).
A level fails when upper bounds lie below -margin: one at a third of the error rate, or two at two
thirds, or all three at all of it (Simes 1986; the metrics of one level rise and fall together, if
at all). Every other level is open. What of this may be said of a whole ladder: ladder.py; of one
that is searched: looks.py.

A bound lies (t^2 seeds + z^2 images)^0.5 from the difference: the variance from seeds is known with
few degrees of freedom and takes Student's quantile, that from hundreds of test images the normal's
(Cochran's approximation, which errs on the safe side).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from analysis.verdict import ladder
from analysis.verdict.clusters import clustered_differences, counting
from analysis.verdict.inference import Bools, Differences, Floats, differences
from analysis.verdict.ladder import Looks

Outcome = Literal["match", "fail", "open"]


@dataclass(frozen=True)
class Margin:
    """size: the loss in accuracy, in (0, 1), that still counts as matching; confidence: of a
    statement about one level, in (0.5, 1)."""

    size: float = 0.01
    confidence: float = 0.95


@dataclass(frozen=True)
class Finding:
    """What the data say of a ladder of levels, by their rows in the score arrays (0 is dense).

    outcomes: of every pruned level that has a score. value, lower, error, of_images (M, L): each
    metric's difference to dense, its lower bound, its standard error and the part of its variance
    that more seeds do not reduce; NaN where untested. seeds (M, L): how many are behind it, source
    seeds where there are several.
    freedom (M,): degrees of freedom of the errors. metrics: the same with covariances.
    with_images: is the test images' part included, from records or as a bound?
    slack (M, L): how far the lower bound that the front must have lies above -margin.
    """

    margin: Margin
    outcomes: dict[int, Outcome]
    value: Floats
    lower: Floats
    error: Floats
    of_images: Floats
    seeds: NDArray[np.int64]
    freedom: tuple[int, ...]
    metrics: tuple[Differences, ...]
    with_images: bool
    slack: Floats

    @property
    def extreme(self) -> int:
        """The largest level shown to match; 0, the dense network, if none is."""
        return max((k for k, outcome in self.outcomes.items() if outcome == "match"), default=0)

    @property
    def open(self) -> tuple[int, ...]:
        """The levels above the extreme one that are neither shown to match nor to fail."""
        return tuple(k for k, o in self.outcomes.items() if o == "open" and k > self.extreme)

    @property
    def clears(self) -> Bools:
        """(L,): which levels match by themselves, whatever the rest of the ladder says."""
        clears: Bools = np.all(self.slack > 0, axis=0)
        return clears

    @property
    def likely(self) -> int:
        """The largest level whose estimates all lie above -margin, whatever their errors."""
        passes = (self.value[:, 1:] >= -self.margin.size).all(0)
        return int(np.flatnonzero(passes).max(initial=-1)) + 1


def judge(
    scores: Sequence[Floats],
    margin: Margin,
    correct: Sequence[Bools | None] | None = None,
    looks: Looks | None = None,
    images: Sequence[int | None] | None = None,
) -> Finding:
    """Judges a ladder of levels by several metrics.

    scores: for each metric (L, S), a row per level, dense first, a column per seed, shares in
    [0, 1], NaN where there is none; correct: for each metric (L, S, N), which test images each
    transfer gets right, or None where that was not recorded; images: then the number of them, if
    known; looks: of a search. With several source seeds, scores are (L, C, T) and correct (L, C, T,
    N), a column per source seed and behind it the transfer seeds (see clusters.py). A level that
    lacks a metric can fail but not match. Raises ValueError if dense lacks a metric.
    """
    records = correct or [None] * len(scores)
    counts = images or [None] * len(scores)
    metrics = tuple(map(_differences, scores, records, counts))
    shape = len(scores), len(scores[0])
    value, error, of_images = (np.full(shape, np.nan) for _ in range(3))
    for m, metric in enumerate(metrics):
        value[m, metric.levels] = metric.value
        error[m, metric.levels] = metric.error
        of_images[m, metric.levels] = np.diag(metric.of_images)
    freedom = tuple(metric.freedom for metric in metrics)
    seeds = np.array([seeds_behind(s) for s in scores])
    most, ones = seeds.max(0), np.ones(shape[1])
    to_match = (1 - margin.confidence) * (looks.to_match(most) if looks else ones)
    to_fail = (1 - margin.confidence) * (looks.to_fail(most) if looks else ones)
    distance = value + margin.size

    def slack(part: float) -> Floats:
        return distance - bound_reach(error, of_images, freedom, part * to_match)

    # Comparisons with NaN are false: what is untested or without an error shows nothing.
    front = ladder.FRONT_OF_SEARCH if looks else ladder.FRONT
    full, at_front, in_sequence = (
        np.all(slack(part) > 0, axis=0) for part in (1.0, front, 1 - front)
    )
    parts = range(1, len(scores) + 1)
    below = [
        distance + bound_reach(error, of_images, freedom, part / len(scores) * to_fail) < 0
        for part in parts
    ]
    fails = np.any([b.sum(0) >= part for part, b in zip(parts, below, strict=True)], axis=0)
    tested = np.any(~np.isnan(value), axis=0)
    probed = looks.probed(most) if looks else np.zeros(shape[1], bool)
    shown = ladder.shown(tested & ~fails, probed, full, at_front, in_sequence)
    outcomes: dict[int, Outcome] = {
        int(k): "match" if shown[k] else "fail" if fails[k] else "open"
        for k in np.flatnonzero(tested)
    }
    known = all(r is not None or n for r, n in zip(records, counts, strict=True))
    return Finding(
        margin,
        outcomes,
        value,
        slack(1) - margin.size,
        error,
        of_images,
        seeds,
        freedom,
        metrics,
        known,
        slack(front),
    )


def _differences(scores: Floats, correct: Bools | None, images: int | None) -> Differences:
    compare = differences if scores.ndim == 2 else clustered_differences
    return compare(scores, correct, images)


def seeds_behind(scores: Floats) -> NDArray[np.int64]:
    """(L,): the seeds behind each level, or the source seeds that count."""
    found: NDArray[np.int64] = (~np.isnan(scores) if scores.ndim == 2 else counting(scores)).sum(1)
    return found


def interval(finding: Finding) -> tuple[int, int]:
    """(lowest, highest) row that the true extreme level may well be, the largest whose true
    differences all lie above -margin: an interval of 1 - 2 (1 - confidence), thus 90 %.

    By inverting the tests: from the largest level shown to match to the largest not shown to fail,
    and to the untested rows above that up to the next tested one. The lower end is wrong if a level
    is wrongly shown to match, the upper one only if the extreme level itself is shown to fail.
    """
    rows = finding.value.shape[1]
    if not all(finding.freedom):
        return 0, rows - 1
    last = max((k for k, outcome in finding.outcomes.items() if outcome != "fail"), default=0)
    above = min((k for k in finding.outcomes if k > last), default=rows)
    return finding.extreme, above - 1


def bound_reach(
    error: Floats, of_images: Floats, freedom: Sequence[int], allowed: Floats
) -> Floats:
    """(M, L): how far a one-sided bound lies from a difference if it may be wrong with probability
    `allowed` (L,); NaN without degrees of freedom."""
    degrees = np.array([df or np.nan for df in freedom])[:, None]
    of_seeds = np.maximum(error**2 - of_images, 0)
    students, normal = stdtrit(degrees, 1 - allowed), ndtri(1 - allowed)
    reach: Floats = np.sqrt(students**2 * of_seeds + normal**2 * of_images)
    return reach
