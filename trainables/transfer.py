"""One transfer: a ticket trained on a downstream task, then judged once on its test images."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.spec import Transfer
from trainables import checks, datasets, models
from trainables.evaluation import Judgement, judge_test
from trainables.images import Splits
from trainables.ledger import Ledger
from trainables.masks import Mask, ones, rewind
from trainables.records import epoch_record, provenance
from trainables.seeding import derived
from trainables.training import Epoch, fit
from trainables.weights import read, to_bytes, without_head


@dataclass(frozen=True)
class Task:
    """A transfer made ready: the rewound network with a new head, its mask and its data."""

    spec: Transfer
    net: nn.Module
    mask: Mask | None
    data: Splits
    started: float


def prepare(spec: Transfer, ledger: Ledger, device: torch.device, with_test: bool = True) -> Task:
    """Reads theta and mask from the ledger; the head is drawn from the transfer's seed.

    Without test images, their place in the task is empty, and they are not touched."""
    started = time.time()
    ticket = spec.ticket
    data = datasets.training_part(spec)
    if not with_test:
        data = replace(data, test=data.val[:0])
    data = data.to(device)
    seed = derived(spec.seed, "head")
    net = models.build(ticket.theta.model, data.classes, data.mean, data.std, seed)
    theta = read(ledger.folder(ticket.theta) / "weights.safetensors")
    mask = None if ticket.level == 0 else read(ledger.folder(ticket) / "mask.safetensors")
    missing = load_body(net, theta, mask or ones(net))
    if any(not name.startswith("fc.") for name in missing):
        raise ValueError(f"theta lacks the weights {missing}")
    return Task(spec, net.to(device), mask, data, started)


def load_body(net: nn.Module, theta: Mapping[str, Tensor], mask: Mask) -> list[str]:
    """Puts theta under the mask into `net`, all but the head; returns what theta did not set."""
    state = without_head(rewind(theta, mask))
    return list(net.load_state_dict(state, strict=False).missing_keys)


def train(task: Task) -> Iterator[Epoch]:
    """The transfer's training, epoch by epoch."""
    spec = task.spec
    yield from fit(
        task.net,
        task.data,
        spec.regime,
        derived(spec.seed, "transfer"),
        evaluation=spec.evaluation,
        mask=task.mask,
        augmentation=spec.dataset.augment,
    )


def conclude(
    task: Task, epochs: list[Epoch], state: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files) of a transfer: its best state by validation judged on the test images, the
    last state's scores beside it, and the best state's correctness image by image.

    Raises RuntimeError if no epoch was validated.
    """
    spec, best = task.spec, epochs[-1].best
    if best is None:
        raise RuntimeError("collapsed before the first validation: lower validate_from")
    last = judge_test(task.net, task.data.test, spec.evaluation)
    judged = last
    if best.epoch != epochs[-1].number:
        task.net.load_state_dict(best.state)
        judged = judge_test(task.net, task.data.test, spec.evaluation)
    further = [checks.run(check, task.net, task.data) for check in spec.checks or ()]
    result = {
        "state": state,
        "test": judged.scores.model_dump(),
        "last": last.scores.model_dump(),
        "val": best.scores.model_dump(exclude_none=True),
        "best_epoch": best.epoch,
        "epochs": [epoch_record(epoch) for epoch in epochs],
        **provenance(task.started, next(task.net.parameters()).device),
    }
    if further:
        result["checks"] = [record for record, _ in further]
    bits = _bits(judged) | {f"check.{i}": right for i, (_, right) in enumerate(further)}
    return result, {"correct.safetensors": to_bytes(bits)}


def _bits(judgement: Judgement) -> dict[str, Tensor]:
    assert judgement.attacked is not None, "test images are always attacked"
    return {"clean": judgement.clean, "attacked": judgement.attacked}
