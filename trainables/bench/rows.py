"""The rows of the bench's table: who does what. Light: imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

OURS, PAPER, UNFROZEN = "ours", "paper", "unfrozen"
NETS = ("quickstart", "resnet20", "resnet18", "resnet50")
OPERATIONS = {
    "standard": "standard step",
    "fast_adversarial": "FAT step",
    "adversarial": "PGD-10 AT step",
    "evaluate": "PGD-20 evaluation",
}
OURSELVES: dict[str, dict[str, str]] = {
    "eager": {"DOUBLE_WIN_CAPTURE": "off"},
    "bf16": {"DOUBLE_WIN_PRECISION": "bf16"},
    "compiled": {"DOUBLE_WIN_COMPILE": "reduce-overhead"},
    "bf16+compiled": {"DOUBLE_WIN_PRECISION": "bf16", "DOUBLE_WIN_COMPILE": "reduce-overhead"},
}
"""This program with other execution settings, as contenders: the environment of their processes."""
HALF_IMAGES = 1024
"""Images of the row on worst_iterate."""


@dataclass(frozen=True)
class Question:
    """What is asked of a contender's process, as JSON."""

    process: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Ask:
    """A row to be measured: our question, the others' by the column they go to, and what the
    roofline's operations are counted on, if it has one. Works in `batch`es are repeated until they
    take long enough to be timed; others are done as they are."""

    name: str
    unit: str
    ours: Question
    others: Mapping[str, Question] = field(default_factory=dict)
    batch: int | None = None
    counted: Mapping[str, Any] | None = None


def asked(
    batches: Mapping[str, int], peers: Sequence[str], ourselves: Sequence[str] = ()
) -> list[Ask]:
    """The rows for the networks in `batches` (images in a batch of each), the peers wanted, and
    those of OURSELVES."""
    trainings = [
        _training(net, operation, batch, peers, ourselves)
        for net, batch in batches.items()
        for operation in OPERATIONS
    ]
    half = {"case": NETS[0], "batch": HALF_IMAGES, "images": HALF_IMAGES}
    worst = Question(OURS, {**half, "operation": "worst"})
    plain = Question(OURS, {**half, "operation": "plain"})
    published = replace(plain, process=PAPER)
    prune = {"kind": "prune"}
    return [
        *trainings,
        Ask(
            "quickstart worst_iterate at RA 50 %",
            "images",
            worst,
            {PAPER: published, "plain": plain},
        ),
        Ask("prune resnet50", "weights", Question(OURS, prune), {"torch": Question(PAPER, prune)}),
    ]


def _training(
    net: str, operation: str, batch: int, peers: Sequence[str], ourselves: Sequence[str]
) -> Ask:
    content = {"case": net, "operation": operation, "batch": batch}
    others = [PAPER, *ourselves]
    if operation in ("fast_adversarial", "adversarial"):
        others.append(UNFROZEN)
    if operation != "standard":
        others += peers
    return Ask(
        f"{net} {OPERATIONS[operation]}",
        "images",
        Question(OURS, content),
        {name: Question(name, content) for name in others},
        batch,
        {"case": net, "operation": operation},
    )
