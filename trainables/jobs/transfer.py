"""One transfer: a ticket trained on a downstream task, then evaluated once on its test images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.checks import Check
from search_spaces.finished.weights import weights
from search_spaces.keys import key
from search_spaces.spec import Theta, Transfer
from trainables.data import datasets
from trainables.data.images import Splits
from trainables.jobs.outcome import Outcome, outcomes
from trainables.judging import checks
from trainables.models.anatomy import anatomy
from trainables.pruning.masks import Mask, ones, rewind
from trainables.runtime.seeding import derived
from trainables.store.checkpoints import TrainingCheckpoint
from trainables.store.ledger import Ledger
from trainables.store.records import Moment, now, provenance
from trainables.store.tensors import read, to_bytes
from trainables.store.weights import FILE, packed, state_of
from trainables.training.loop import Best, Epoch, Progress, fit, snapshot, validate
from trainables.training.tasks.named import TASKS
from trainables.training.tasks.task import Results
from trainables.training.tasks.task import Task as Kind


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

    @property
    def kind(self) -> Kind:
        """What it is trained and judged for."""
        return TASKS[self.spec.dataset.kind]


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
    net = TASKS[spec.dataset.kind].network(model, data.classes, data.mean, data.std, seed, size)
    start = read(ledger.file(ticket.start, "weights.safetensors"))
    mask = None if ticket.level == 0 else read(ledger.file(ticket, "mask.safetensors"))
    missing = load_body(net, start, mask or ones(net))
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
        task=task.kind,
    )


def run(task: Task, ledger: Ledger, keep: bool = True) -> Iterator[dict[str, Any]]:
    """Trains a transfer from where it was left and writes its result and, with `keep`, the weights
    it ends in, yielding each epoch's record; the last has `ends`: the result is in the ledger
    before it is yielded. Where the ledger keeps the weights already, they are judged, and nothing
    is trained.

    One that diverges ends too, with its best state; where none was validated, with the ticket as it
    was before training, which counts as epoch 0.
    """
    spec = task.spec
    checkpoint = TrainingCheckpoint(ledger.unfinished(spec))
    if ledger.has(weights(spec)):
        result, files = judge(task, ledger)
        ledger.write(spec, result, files)
        checkpoint.remove()
        (last,) = result["epochs"][-1:] or [{}]
        yield {**last, "ends": True}
        return
    for reached in outcomes(partial(train, task), spec.regime, checkpoint):
        if reached.ended:
            result, files = conclude(task, reached, ledger)
            if keep:
                keep_weights(task, result, ledger)
            ledger.write(spec, result, files)
            checkpoint.remove()
        yield {**reached.last, "ends": reached.ended}


def untrained(task: Task, ledger: Ledger) -> Best:
    """The state that a transfer's training starts from, as its best: its epoch is 0."""
    spec = task.spec
    fresh = prepare(spec, ledger, next(task.net.parameters()).device)
    val = validate(fresh.net, fresh.data.val, spec.regime, spec.evaluation, fresh.kind)
    return Best(0, val, snapshot(fresh.net))


def conclude(
    task: Task, reached: Outcome, ledger: Ledger
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files) of a transfer that has ended: what came of its training, and the judgement of
    its best state by validation, in which it leaves the network; the last state's scores beside it.
    Of a training that diverged, no later state is left than the best; where none was validated,
    that is the ticket as it was before training.
    """
    diverged = reached.state == "diverged"
    best = reached.best or untrained(task, ledger)
    if diverged:
        task.net.load_state_dict(best.state)
    last = evaluated = _tested(task)
    if not diverged and best.epoch != reached.last["number"]:
        task.net.load_state_dict(best.state)
        evaluated = _tested(task)
    judged, files = _judgement(task, evaluated)
    result = {
        "state": reached.state,
        "last": last.scores.model_dump(),
        "val": best.scores.model_dump(exclude_none=True),
        "best_epoch": best.epoch,
        "epochs": reached.records,
        **({"reason": reached.reason} if reached.reason else {}),
        **judged,
        **provenance(task.started, next(task.net.parameters()).device, epochs=reached.records),
    }
    return result, files


JUDGED = ("test", "last", "chance", "checks")
"""What of a transfer's result depends on how it is judged."""


def keep_weights(task: Task, result: Mapping[str, Any], ledger: Ledger) -> None:
    """Keeps the weights of a concluded transfer, with what of its result they decide."""
    trained = {name: value for name, value in result.items() if name not in JUDGED}
    # The last state's scores are of one evaluation: only that can be judged again in full.
    trained["last"] = {"scores": result["last"], "evaluation": key(task.spec.evaluation)}
    values = to_bytes(packed(snapshot(task.net), task.mask or {}))
    ledger.write(weights(task.spec), trained, {FILE: values})


def judge(task: Task, ledger: Ledger) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files) of a transfer whose weights are kept: what came of their training, their
    judgement, and under `judged` when and where that was made. `last` is missing where the last
    state was another than the best, which alone is kept, and was judged by another evaluation.

    Raises FileNotFoundError where no weights are kept, DamagedError where they have changed.
    """
    spec = task.spec
    task.net.load_state_dict(state_of(spec, task.mask, ledger))
    trained = ledger.result(weights(spec))
    judged, files = _judgement(task, _tested(task))
    last = trained.pop("last")
    if last["evaluation"] == key(spec.evaluation):
        judged["last"] = last["scores"]
    elif trained["state"] == "diverged" or trained["best_epoch"] == len(trained["epochs"]):
        judged["last"] = judged["test"]
    when = provenance(task.started, next(task.net.parameters()).device)
    return {**trained, **judged, "judged": when}, files


def _tested(task: Task) -> Results:
    how = task.spec.evaluation
    images, size = task.data.test, how.batch_size
    return task.kind.evaluate(task.net, images, how.attack, how.protocol, batch_size=size)


def _judgement(task: Task, evaluated: Results) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(part of the result, files): scores of the network on the test images, what one that has
    learnt nothing gets right (`chance`), further checks, and correctness image by image, of a task
    that has it."""
    further = [_check(check, task) for check in task.spec.checks or ()]
    judged = {"test": evaluated.scores.model_dump(), "chance": task.kind.chance(task.data.test)}
    if further:
        judged["checks"] = [record for record, _ in further]
    bits = dict(evaluated.records)
    bits |= {f"check.{i}": right for i, (_, right) in enumerate(further)}
    return judged, {"correct.safetensors": to_bytes(bits)} if bits else {}


def _check(check: Check, task: Task) -> tuple[dict[str, Any], Tensor]:
    surrogate = task.spec.surrogate(check)
    other = None if surrogate is None else task.surrogates[surrogate]
    return checks.run(check, task.net, task.data, other)


def trained_network(transfer: Transfer, ledger: Ledger, device: torch.device) -> nn.Module:
    """The network that a transfer ended in, in eval mode, from its kept weights. Raises
    FileNotFoundError where none are kept."""
    task = prepare(transfer, ledger, device, with_test=False)
    task.net.load_state_dict(state_of(transfer, task.mask, ledger))
    return task.net.eval()
