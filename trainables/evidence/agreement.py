"""What per-image records show: accuracy class by class, and where two networks agree."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from torch import Tensor

from search_spaces.finished.evidence import RecordEvidence
from trainables.data import datasets
from trainables.store.ledger import Ledger
from trainables.store.tensors import read

VIEWS = ("clean", "attacked")


def agreement(first: Tensor, second: Tensor) -> dict[str, float | None]:
    """How far two networks get the same images right; first, second: (N,) bool, correct or not.

    agreement: share of images, in [0, 1], that both get right or both get wrong. kappa: that share
    beyond what their accuracies alone make likely (Cohen 1960), at most 1; None where one of the
    two answers is all there is in both, so that nothing lies beyond chance.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError("agreement needs two records of the same images, at least one")
    p, q = first.double().mean().item(), second.double().mean().item()
    same = (first == second).double().mean().item()
    chance = p * q + (1 - p) * (1 - q)
    kappa = (same - chance) / (1 - chance) if chance < 1 else None
    return {"agreement": same, "kappa": kappa}


def per_class(right: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Accuracy in [0, 1] on the images of each class; None for a class without images.

    right: (N,) bool; labels: (N,) integers below `classes`."""
    seen = labels.bincount(minlength=classes).tolist()
    hits = labels[right].bincount(minlength=classes).tolist()
    return [f / s if s else None for f, s in zip(hits, seen, strict=True)]


def examine(spec: RecordEvidence, ledger: Ledger) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, no files): `class_images`, how many each class has; `classes`, for each transfer its
    sa and ra class by class; `pairs`, the agreement of each two, by places in the spec."""
    data = datasets.splits(spec.transfers[0].dataset)
    labels = data.test.y
    records = [read(ledger.file(t, "correct.safetensors")) for t in spec.transfers]
    classes = [
        {
            "sa": per_class(record["clean"], labels, data.classes),
            "ra": per_class(record["attacked"], labels, data.classes),
        }
        for record in records
    ]
    pairs = [
        {"pair": [i, j], **_both(records[i], records[j])}
        for i, j in combinations(range(len(records)), 2)
    ]
    images = labels.bincount(minlength=data.classes).tolist()
    return {"class_images": images, "classes": classes, "pairs": pairs}, {}


def _both(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Any]:
    return {view: agreement(first[view], second[view]) for view in VIEWS}
