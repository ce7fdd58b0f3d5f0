"""Non-inferiority: a level matches when the data show that it loses less than a margin.

For every metric the difference to the dense network gets one-sided confidence bounds. A level
matches when all lower bounds lie above -margin; each is taken at the full confidence, because a
claim that needs all of them is wrong only if one of them is (intersection-union test, Berger 1982).
A level fails when one upper bound lies below -margin; each is taken at its share of the error rate
(Bonferroni), because one of them suffices. Every other level is open: more seeds may tell.

A bound lies (t^2 seeds + z^2 images)^0.5 from the difference: the variance from seeds is known with
few degrees of freedom and takes Student's quantile, that from hundreds of test images the normal's
(Cochran's approximation, which errs on the safe side).
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from analysis.verdict.inference import Bools, Differences, Floats, differences

Outcome = Literal["match", "fail", "open"]

_DRAWS = 1000
# More seeds than anybody trains: an estimate that lies on the margin itself would ask for them.
_MOST_SEEDS = 2**20


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
    that more seeds do not reduce; NaN where untested. seeds (M, L): how many are behind it.
    freedom (M,): degrees of freedom of the errors. metrics: the same with covariances.
    with_images: is the test images' part known (even if it comes out as nothing)?
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

    @property
    def extreme(self) -> int:
        """The largest level shown to match; 0, the dense network, if none is."""
        return max((k for k, outcome in self.outcomes.items() if outcome == "match"), default=0)

    @property
    def open(self) -> tuple[int, ...]:
        """The levels above the extreme one that are neither shown to match nor to fail."""
        return tuple(k for k, o in self.outcomes.items() if o == "open" and k > self.extreme)

    @property
    def likely(self) -> int:
        """The largest level whose estimates all lie above -margin, whatever their errors."""
        passes = (self.value[:, 1:] >= -self.margin.size).all(0)
        return int(np.flatnonzero(passes).max(initial=-1)) + 1


def judge(
    scores: Sequence[Floats], margin: Margin, correct: Sequence[Bools | None] | None = None
) -> Finding:
    """Judges a ladder of levels by several metrics.

    scores: for each metric (L, S), a row per level, dense first, a column per seed, shares in
    [0, 1], NaN where there is none; correct: for each metric (L, S, N), which test images each
    transfer gets right, or None where that was not recorded. A level that lacks a metric can fail
    but not match. Raises ValueError if dense lacks a metric.
    """
    records = correct or [None] * len(scores)
    found = tuple(differences(s, c) for s, c in zip(scores, records, strict=True))
    shape = len(scores), len(scores[0])
    value, error, of_images = (np.full(shape, np.nan) for _ in range(3))
    for m, metric in enumerate(found):
        value[m, metric.levels] = metric.value
        error[m, metric.levels] = metric.error
        of_images[m, metric.levels] = np.diag(metric.of_images)
    freedom = tuple(metric.freedom for metric in found)
    lower = value - _reach(error, of_images, freedom, margin.confidence)
    upper = value + _reach(error, of_images, freedom, _each(margin.confidence, len(scores)))
    # Comparisons with NaN are false: what is untested or without an error shows nothing.
    matches = np.all(lower > -margin.size, axis=0)
    fails = np.any(upper < -margin.size, axis=0)
    tested = np.flatnonzero(np.any(~np.isnan(value), axis=0))
    outcomes: dict[int, Outcome] = {
        int(k): "match" if matches[k] else "fail" if fails[k] else "open" for k in tested
    }
    seeds = np.array([(~np.isnan(s)).sum(1) for s in scores])
    known = all(record is not None for record in records)
    return Finding(margin, outcomes, value, lower, error, of_images, seeds, freedom, found, known)


def interval(finding: Finding, coverage: float = 0.9, seed: int = 0) -> tuple[int, int]:
    """(lowest, highest) row that the true extreme level may well be: a bootstrap interval.

    The true extreme is the largest level whose true differences all lie above -margin. Parametric
    bootstrap: all differences are drawn anew from their joint distribution (seeds: Student's, with
    the variances' degrees of freedom; images: normal); each draw has its largest passing level, and
    the untested rows up to the next tested one are passed or not, nobody knows. Percentiles of both
    ends.
    """
    rows = finding.value.shape[1]
    if not all(finding.freedom):
        return 0, rows - 1
    rng = np.random.default_rng(seed)
    passes = np.ones((_DRAWS, rows), bool)
    for metric in finding.metrics:
        noise = rng.standard_normal((_DRAWS, len(metric.levels))) @ _root(metric.of_seeds).T
        noise *= np.sqrt(metric.freedom / rng.chisquare(metric.freedom, _DRAWS))[:, None]
        noise += rng.standard_normal(noise.shape) @ _root(metric.of_images).T
        passes[:, metric.levels] &= metric.value + noise >= -finding.margin.size
    there = ~np.isnan(finding.value)
    whole, partly = _ladder(np.all(there, axis=0)), _ladder(np.any(there, axis=0))
    low = whole[_last(passes[:, whole])]
    after = np.append(partly[1:], rows)
    high = after[_last(passes[:, partly])] - 1
    tail = (1 - coverage) / 2
    return (
        int(np.quantile(low, tail, method="lower")),
        int(np.quantile(high, 1 - tail, method="higher")),
    )


def seeds_to_settle(finding: Finding, level: int) -> int | None:
    """How many more seeds, of this level and of dense, would show an open level to match or to fail
    if its estimates and variances stayed as they are and every seed brought a degree of freedom.
    None if no number would, because the test images alone leave more doubt than there is distance
    to the margin, or there is none. At least 1.
    """
    distance = finding.value[:, level] + finding.margin.size
    failing = distance < 0
    if failing.any():
        confidence = _each(finding.margin.confidence, len(distance))
        needs = [_more(finding, int(m), level, confidence) for m in np.flatnonzero(failing)]
        possible = [need for need in needs if need is not None]
        return min(possible, default=None)
    if np.isnan(distance).any():
        return 1
    needs = [_more(finding, m, level, finding.margin.confidence) for m in range(len(distance))]
    possible = [need for need in needs if need is not None]
    return max(possible) if len(possible) == len(needs) else None


def _more(finding: Finding, metric: int, level: int, confidence: float) -> int | None:
    """More seeds for one metric's bound to clear -margin."""
    of_images = float(finding.of_images[metric, level])
    of_seeds = float(finding.error[metric, level]) ** 2 - of_images
    if not np.isfinite(of_seeds):
        return 1
    distance = abs(float(finding.value[metric, level]) + finding.margin.size)
    allowed = distance**2 - _normal_quantile(confidence) ** 2 * of_images
    if allowed <= 0:
        return None
    dense, own = (int(finding.seeds[metric, row]) for row in (0, level))
    per_seed = of_seeds / (1 / dense + 1 / own)

    def clears(more: int) -> bool:
        left = per_seed * (1 / (dense + more) + 1 / (own + more))
        return _quantile(confidence, finding.freedom[metric] + more) ** 2 * left < allowed

    enough = 1
    while not clears(enough):
        enough *= 2
        if enough > _MOST_SEEDS:
            return None
    return bisect_left(range(enough), True, lo=enough // 2 + 1, key=clears)


def _ladder(tested: NDArray[Any]) -> NDArray[np.intp]:
    """The rows of tested levels, after that of the dense network."""
    return np.array([0, *np.flatnonzero(tested)])


def _last(passes: Bools) -> NDArray[np.intp]:
    """The place of the last True in each row; the first column, dense, always passes."""
    passes = passes.copy()
    passes[:, 0] = True
    places: NDArray[np.intp] = passes.shape[1] - 1 - passes[:, ::-1].argmax(1)
    return places


def _root(covariance: Floats) -> Floats:
    """A matrix whose product with its transpose is the covariance, singular ones included."""
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors * np.sqrt(np.maximum(values, 0))
    return root


def _each(confidence: float, metrics: int) -> float:
    return 1 - (1 - confidence) / metrics


def _reach(error: Floats, of_images: Floats, freedom: Sequence[int], confidence: float) -> Floats:
    """(M, L): how far a bound lies from the difference."""
    students = np.array([[_quantile(confidence, df)] for df in freedom])
    of_seeds = np.maximum(error**2 - of_images, 0)
    reach: Floats = np.sqrt(students**2 * of_seeds + _normal_quantile(confidence) ** 2 * of_images)
    return reach


@lru_cache(maxsize=4096)
def _quantile(confidence: float, freedom: int) -> float:
    return float(stdtrit(freedom, confidence)) if freedom else math.nan


@lru_cache(maxsize=64)
def _normal_quantile(confidence: float) -> float:
    return float(ndtri(confidence))
