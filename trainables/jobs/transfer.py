"""One transfer: a ticket trained on a downstream task, then evaluated once on its test images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.spec import Check, Theta, Transfer
from trainables.data import datasets
from trainables.data.images import Splits
from trainables.jobs import checks
from trainables.jobs.outcome import Outcome, outcomes
from trainables.models import networks
from trainables.models.anatomy import anatomy
from trainables.pruning.masks import Mask, ones, rewind
from trainables.runtime.seeding import derived
from trainables.store.checkpoints import TrainingCheckpoint
from trainables.store.ledger import Ledger
from trainables.store.records import Moment, now, provenance
from trainables.store.tensors import read, to_bytes
from trainables.training.accuracy import commonest
from trainables.training.evaluation import ImageResults, evaluate_test
from trainables.training.loop import Best, Epoch, Progress, fit, snapshot, validate


@dataclass(frozen=True)
class Task:
    """A transfer made ready: the rewound network with a new head, its mask and its data, and the
    weights of the networks that the study has trained for its checks."""

    spec: Transfer
    net: nn.Module
    mask: Mask | None
    data: Splits
    started: Moment
    surrogates: Mapping[Theta, Mapping[str, Tensor]] = field(default_factory=dict)


def prepare(spec: Transfer, ledger: Ledger, device: torch.device, with_test: bool = True) -> Task:
    """Reads ticket and surrogates from the ledger; the head is drawn from the transfer's seed.

    Without test images, their place in the task is empty, and they are not touched."""
    started = now()
    ticket = spec.ticket
    data = datasets.training_part(spec, device)
    if not with_test:
        data = replace(data, test=data.val[:0])
    seed = derived(spec.seed, "head")
    model, size = ticket.theta.model, spec.dataset.size
    net = networks.build(model, data.classes, data.mean, data.std, seed, size)
    weights = read(ledger.file(ticket.start, "weights.safetensors"))
    mask = None if ticket.level == 0 else read(ledger.file(ticket, "mask.safetensors"))
    missing = load_body(net, weights, mask or ones(net))
    if any(not anatomy(net).in_head(name) for name in missing):
        raise ValueError(f"the ticket lacks the weights {missing}")
    others = spec.surrogates if with_test else ()
    surrogates = {each: read(ledger.file(each, "weights.safetensors")) for each in others}
    return Task(spec, net.to(device), mask, data, started, surrogates)


def load_body(net: nn.Module, weights: Mapping[str, Tensor], mask: Mask) -> list[str]:
    """Puts weights under the mask into `net`, all but the head; returns what they did not set."""
    whole, parts = rewind(weights, mask), anatomy(net)
    state = {name: value for name, value in whole.items() if not parts.in_head(name)}
    return list(net.load_state_dict(state, strict=False).missing_keys)


def train(task: Task, resume: Progress | None = None) -> Iterator[Epoch]:
    """The transfer's training, epoch by epoch, from its start or from where it was left."""
    spec = task.spec
    yield from fit(
        task.net,
        task.data,
        spec.regime,
        derived(spec.seed, "transfer"),
        evaluation=spec.evaluation,
        mask=task.mask,
        augmentation=spec.dataset.augment,
        resume=resume,
    )


def run(task: Task, ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Trains a transfer from where it was left and writes its result, yielding each epoch's record;
    the last has `ends`: the result is in the ledger before it is yielded.

    One that diverges ends too, with its best state; where none was validated, with the ticket as it
    was before training, which counts as epoch 0.
    """
    spec = task.spec
    checkpoint = TrainingCheckpoint(ledger.unfinished(spec))
    for reached in outcomes(partial(train, task), spec.regime, checkpoint):
        if reached.ended:
            ledger.write(spec, *conclude(task, reached, ledger))
            checkpoint.remove()
        yield {**reached.last, "ends": reached.ended}


def untrained(task: Task, ledger: Ledger) -> Best:
    """The state that a transfer's training starts from, as its best: its epoch is 0."""
    spec = task.spec
    fresh = prepare(spec, ledger, next(task.net.parameters()).device)
    val = validate(fresh.net, fresh.data.val, spec.regime, spec.evaluation)
    return Best(0, val, snapshot(fresh.net))


def conclude(
    task: Task, reached: Outcome, ledger: Ledger
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files) of a transfer that has ended: its best state by validation on the test
    images, the last state's scores beside it, what a network that has learnt nothing gets right
    (`chance`), and the best state's correctness image by image. Of a training that diverged, no
    later state is left than the best; where none was validated, that is the ticket as it was
    before training.
    """
    spec, diverged = task.spec, reached.state == "diverged"
    best = reached.best or untrained(task, ledger)
    if diverged:
        task.net.load_state_dict(best.state)
    last = evaluate_test(task.net, task.data.test, spec.evaluation)
    evaluated = last
    if not diverged and best.epoch != reached.last["number"]:
        task.net.load_state_dict(best.state)
        evaluated = evaluate_test(task.net, task.data.test, spec.evaluation)
    further = [_check(check, task) for check in spec.checks or ()]
    result = {
        "state": reached.state,
        "test": evaluated.scores.model_dump(),
        "last": last.scores.model_dump(),
        "val": best.scores.model_dump(exclude_none=True),
        "chance": commonest(task.data.test.y),
        "best_epoch": best.epoch,
        "epochs": reached.records,
        **provenance(task.started, next(task.net.parameters()).device, epochs=reached.records),
    }
    if further:
        result["checks"] = [record for record, _ in further]
    if reached.reason:
        result["reason"] = reached.reason
    bits = _bits(evaluated) | {f"check.{i}": right for i, (_, right) in enumerate(further)}
    return result, {"correct.safetensors": to_bytes(bits)}


def _check(check: Check, task: Task) -> tuple[dict[str, Any], Tensor]:
    surrogate = task.spec.surrogate(check)
    weights = None if surrogate is None else task.surrogates[surrogate]
    return checks.run(check, task.net, task.data, weights)


def _bits(results: ImageResults) -> dict[str, Tensor]:
    assert results.attacked is not None, "test images are always attacked"
    return {"clean": results.clean, "attacked": results.attacked}
