"""Several source seeds: what other pre-trainings and other searches for the ticket would change.

Transfers of one theta share its luck, and its tickets': they are a cluster, and say little more of
the method than their mean does. So the unit of replication is the source seed (as the cluster is in
trials that randomise by cluster, Donner and Klar 2000): of a level, the transfers of each source
seed count by their mean, against the same theta's dense network on the same transfer seeds.

Tickets of one theta at different levels share its luck too (masks of imp are nested), so that
levels do not tell of each other's spread: each has its own, with as many degrees of freedom as
source seeds but one. Scores are shares in [0, 1].
"""

import numpy as np
from numpy.typing import NDArray

from analysis.verdict.inference import STEP, Bools, Differences, Floats


def counting(scores: Floats) -> Bools:
    """(L, C): which source seeds count at which level: of these scores (L, C, T) all are there, and
    all of the dense network's."""
    there: Bools = np.all(~np.isnan(scores), axis=2)
    pairs: Bools = there & there[:1]
    return pairs


def clustered_differences(
    scores: Floats, correct: Bools | None = None, images: int | None = None
) -> Differences:
    """Each level's mean difference to dense over source seeds, and its errors.

    scores (L, C, T): a row per level, dense first, a column per source seed, behind it the transfer
    seeds, NaN where there is none; correct (L, C, T, N), images: as of `inference.differences`. A
    source seed counts at a level if all its transfers are there, of that level and of dense: a mean
    of others would be of another kind. Errors are NaN where fewer than two count; `freedom` is that
    of the level with the fewest of at least two, or 0. Covariances are of errors at one level:
    between levels they are not given (0). Raises ValueError if dense has no complete source seed.

    From seeds: the variance of the paired differences over source seeds. From test images: over
    images, the variance of the mean difference, less what source seeds put there by changing their
    answers to single images, which the seeds' part holds already.
    """
    pairs = counting(scores)
    if not pairs[0].any():
        raise ValueError("the dense network has no complete source seed to compare with")
    levels = np.flatnonzero(pairs.any(1))[1:]
    means = scores.mean(2)
    count = correct.shape[-1] if correct is not None else images
    # A score is rounded to a share of the images; a difference of means of T has twice that / T.
    least = 2 * STEP / (count**2 * scores.shape[2]) if count else 0.0
    value, of_seeds, of_images = (np.full(len(levels), np.nan) for _ in range(3))
    for place, level in enumerate(levels):
        own = pairs[level]
        difference = means[level, own] - means[0, own]
        value[place] = difference.mean()
        number = len(difference)
        if number < 2:
            continue
        of_seeds[place] = max(difference.var(ddof=1), least) / number
        if correct is not None:
            of_images[place] = _of_images(correct[level, own], correct[0, own])
        elif count:
            shares = np.array([means[0, own].mean(), means[level, own].mean()])
            of_images[place] = float((shares * (1 - shares)).sum()) / count
        else:
            of_images[place] = 0.0
    numbers = pairs[levels].sum(1)
    freedom = int(min(numbers[numbers > 1], default=1)) - 1
    return Differences(levels, value, np.diag(of_seeds), np.diag(of_images), freedom)


def _of_images(own: Bools, dense: Bools) -> float:
    """The variance of a mean difference over another draw of test images; own and dense: (C, T, N).

    With q (C, N) the difference of an image averaged over transfer seeds, source seeds and images
    cross; their interaction, which also scatters the mean over images, is what remains of q without
    the means of its rows and columns.
    """
    q: NDArray[np.float64] = own.mean(1) - dense.mean(1)
    number, images = map(int, q.shape)
    by_image = q.mean(0)
    rest = q - by_image - q.mean(1, keepdims=True) + by_image.mean()
    interaction = float((rest**2).sum()) / ((number - 1) * (images - 1))
    of_mean = max(0.0, float(by_image.var(ddof=1)) - interaction / number)
    return of_mean / images
