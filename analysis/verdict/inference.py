"""What seeds and test images leave uncertain: differences to the dense network with their errors.

Pure functions over arrays. A score array has a row per level, the dense network's first, and a
column per seed; NaN stands for a transfer that is not there. Scores are shares in [0, 1].

The model is score = level + seed + rest: transfers of one seed share their data order and their
head, so they are paired. The variances of seed and rest are pooled over all levels. Test images
are a sample too: the same ones judge every transfer, so their error does not shrink with seeds.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# With fewer degrees of freedom the share of the seeds in the variance is not known well enough to
# subtract it. Treating paired values as unpaired only widens intervals.
_LEAST_FREEDOM = 4

STEP = 1 / 12
"""A score is a whole number of N images, so that few seeds may tie by chance. Rounding it to that
step of 1 / N has a variance of 1 / 12 of its square: no variance counts as less."""

_LEAST_IMAGES, _MOST_IMAGES = 30, 10**6


@dataclass(frozen=True)
class Differences:
    """A metric of each tested level minus the dense network's.

    levels (K,): rows of the score array they belong to; value (K,): differences, in [-1, 1];
    of_seeds, of_images (K, K): covariances of their errors from seeds, which more seeds reduce, and
    from test images, which they do not; freedom: degrees of freedom of the seeds' variance, 0 where
    no level has two seeds and nothing is known of the errors (covariances NaN).
    """

    levels: NDArray[np.int64]
    value: Floats
    of_seeds: Floats
    of_images: Floats
    freedom: int

    @property
    def covariance(self) -> Floats:
        """(K, K): of the errors from seeds and test images together."""
        return self.of_seeds + self.of_images

    @property
    def error(self) -> Floats:
        """(K,) standard errors."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0))


def differences(
    scores: Floats, correct: Bools | None = None, images: int | None = None
) -> Differences:
    """Best linear unbiased differences to dense under the model above, and their covariance.

    scores (L, S), correct (L, S, N): which of N test images each transfer gets right (rows of
    absent transfers are ignored). Without it the test images' part is that of two networks judged
    on `images` images each of their own, p (1 - p) / images for each: more than it can be while
    both find the same images hard. With neither the test images count as given, and scores that tie
    as exactly equal. Raises ValueError if the dense row is empty.

    Variances by the method of moments (Henderson's method III for two crossed factors). The images'
    part is that of crossed seeds and images, as for several readers of the same cases (Gallas et
    al. 2009): the variance over images of the estimate's own combination of images, less what seeds
    by themselves put there, which the seeds' part holds already.
    """
    there = ~np.isnan(scores)
    if not there[0].any():
        raise ValueError("the dense network has no score to compare with")
    rows, seeds = there.any(1), there.any(0)
    levels = np.flatnonzero(rows)[1:]
    y, there = scores[np.ix_(rows, seeds)], there[np.ix_(rows, seeds)]
    of_rest, of_seed, freedom = _variances(y, there)
    count = correct.shape[-1] if correct is not None else images
    if count:
        of_rest = max(of_rest, STEP / count**2)
    weights = _weights(there, of_rest, of_seed)
    y = np.where(there, y, 0.0)
    means = np.einsum("kls,ls->k", weights, y)
    if not freedom:
        unknown = np.full((len(levels), len(levels)), np.nan)
        return Differences(levels, means, unknown, unknown, 0)
    by_seed = weights.sum(1)
    spread = of_seed * by_seed @ by_seed.T + of_rest * _products(weights)
    of_images = np.zeros_like(spread)
    if correct is not None:
        of_images = _of_images(weights, correct[np.ix_(rows, seeds)], there)
    elif count:
        share = y.sum(1) / there.sum(1)
        binomial = share * (1 - share) / count
        of_images = np.diag(binomial[1:]) + binomial[0]
    return Differences(levels, means, spread, of_images, freedom)


def images_behind(scores: Floats) -> int | None:
    """The fewest test images of which all scores can be shares; NaN scores are ignored. A divisor
    of the true number, and with a few scores mostly the number itself. None where it is below 30 or
    above a million: of scores that tie or are no shares of images nothing can be said."""
    count = 1
    for score in np.unique(scores[np.isfinite(scores)]):
        share = Fraction(float(score)).limit_denominator(_MOST_IMAGES)
        count = math.lcm(count, share.denominator)
        if abs(float(share) - score) > 1e-12 or count > _MOST_IMAGES:
            return None
    return count if count >= _LEAST_IMAGES else None


def _variances(y: Floats, there: Bools) -> tuple[float, float, int]:
    """(rest, seed, degrees of freedom): variance components pooled over levels."""
    count = there.sum(1)
    filled = np.where(there, y, 0.0)
    within = np.where(there, filled - (filled.sum(1) / count)[:, None], 0.0)
    loose = int((count - 1).sum())
    if not loose:
        return 0.0, 0.0, 0
    total = float((within**2).sum()) / loose
    matrix = _normal(there, 1 / there.sum(0))
    gains = filled.sum(1) - (there / there.sum(0)) @ filled.sum(0)
    levels = np.linalg.pinv(matrix, hermitian=True) @ gains
    rest = np.where(there, filled - levels[:, None], 0.0)
    rest = np.where(there, rest - rest.sum(0) / there.sum(0), 0.0)
    paired = int(count.sum()) - there.shape[1] - int(np.linalg.matrix_rank(matrix, hermitian=True))
    if paired < _LEAST_FREEDOM:
        return total, 0.0, loose
    of_rest = float((rest**2).sum()) / paired
    return of_rest, max(0.0, total - of_rest), paired


def _weights(there: Bools, of_rest: float, of_seed: float) -> Floats:
    """(K, L, S): how much of each score enters each level's difference to dense."""
    per_seed = there.sum(0)
    if of_seed > 0:
        shared = of_seed / np.maximum(of_rest + per_seed * of_seed, 1e-300)
        # All variance in the seeds would leave the levels' sizes open; a hair less does not.
        shared = np.minimum(shared, (1 - 1e-9) / per_seed)
    else:
        shared = np.zeros(len(per_seed))
    inverse = np.linalg.inv(_normal(there, shared))
    contrast = inverse[1:] - inverse[:1]
    own = np.einsum("kl,ls->kls", contrast, there.astype(float))
    others = np.einsum("kl,ls->ks", contrast, there * shared)
    weights: Floats = own - others[:, None, :] * there
    return weights


def _products(weights: Floats) -> Floats:
    """(K, K): sums over all scores of two levels' weights."""
    flat = _flat(weights)
    result: Floats = flat @ flat.T
    return result


def _flat(weights: Floats) -> Floats:
    """(K, L S) of (K, L, S), for no levels too."""
    levels, rows, seeds = weights.shape
    return weights.reshape(levels, rows * seeds)


def _normal(there: Bools, shared: Floats) -> Floats:
    """The levels' normal equations after the seeds are swept out by the share `shared`."""
    counts = there.astype(float)
    matrix: Floats = np.diag(counts.sum(1)) - (counts * shared) @ counts.T
    return matrix


def _of_images(weights: Floats, correct: Bools, there: Bools) -> Floats:
    """(K, K) covariance of the differences over another draw of test images."""
    right = np.where(there[..., None], correct, False).astype(float)
    images = right.shape[-1]
    combined = _flat(weights) @ right.reshape(-1, images)
    spread = np.cov(combined, bias=False).reshape(len(weights), len(weights)) / images
    count = there.sum(1)
    share = np.einsum("lsn->ln", right) / count[:, None]
    # Over seeds of one level, each image by itself; levels of one seed take the others' mean.
    flips = (share * (1 - share)).mean(1) * count / np.maximum(count - 1, 1)
    flip = float(np.average(flips, weights=count - 1)) if (count > 1).any() else 0.0
    doubled = flip * _products(weights) / images
    result: Floats = spread - doubled
    # A difference of two estimates may come out below zero where images hardly matter.
    negative = np.diag(result) < 0
    result[negative] = 0
    result[:, negative] = 0
    return result
