"""COCO's mask AP: precision averaged over recall, overlaps and classes (Lin et al. 2014), as
pycocotools computes it without crowds and over objects of all sizes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

OVERLAPS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


class Compared(NamedTuple):
    """One image's D detections beside its K objects: scores (D,), found (D,) and there (K,)
    classes, overlaps (D, K), intersection over union."""

    scores: Floats
    found: Ints
    there: Ints
    overlaps: Floats


def overlaps(found: Tensor, there: Tensor) -> Tensor:
    """(D, K) float64: intersection over union of masks (D, H, W) and (K, H, W), bool."""
    a, b = found.flatten(1).double(), there.flatten(1).double()
    both = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1) - both
    return both / either.clamp(min=1)


def average_precision(images: Sequence[Compared]) -> float:
    """Mask AP in [0, 1], the mean over OVERLAPS and the classes that occur; 0 where none does."""
    classes = np.unique(np.concatenate([np.zeros(0, int), *(each.there for each in images)]))
    parts = [[_of_class(each, wanted) for each in images] for wanted in classes]
    values = [_averaged(part, least) for part in parts for least in OVERLAPS]
    return float(np.mean(values)) if values else 0.0


def _of_class(image: Compared, wanted: int) -> tuple[Floats, Floats]:
    """(scores, overlaps) of an image's detections and objects of a class, the surest first."""
    own = np.flatnonzero(image.found == wanted)
    own = own[np.argsort(-image.scores[own], kind="stable")]
    return image.scores[own], image.overlaps[np.ix_(own, image.there == wanted)]


def _averaged(images: Sequence[tuple[Floats, Floats]], least: float) -> float:
    """Precision of one class at one overlap, averaged over 101 recalls."""
    scores = np.concatenate([score for score, _ in images])
    hits = np.concatenate([_hits(overlap, least) for _, overlap in images])
    hits = hits[np.argsort(-scores, kind="stable")]
    right = hits.cumsum()
    recall = right / sum(overlap.shape[1] for _, overlap in images)
    precision = right / np.arange(1, len(hits) + 1)
    # At a recall, the best precision there or beyond.
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[recall.searchsorted(_RECALLS, side="left")].mean())


def _hits(overlaps: Floats, least: float) -> NDArray[np.bool_]:
    """(D,): does each detection, in order, meet an object that is free yet? Of several, the one
    that it overlaps most, of equals the last."""
    hits, free = np.zeros(len(overlaps), bool), np.ones(overlaps.shape[1], bool)
    for row, own in enumerate(overlaps):
        own = np.where(free, own, -1.0)
        if len(own) and own.max() >= min(least, 1 - 1e-10):
            hits[row] = True
            free[np.flatnonzero(own == own.max())[-1]] = False
    return hits
