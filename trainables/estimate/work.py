"""What trainings and judgements consist of, counted in steps. Light: imports no torch.

A step is one optimiser step, one step of an attack or one forward pass, on one batch. The counts
follow `training.fit`, `evaluation.judge` and `transfer.conclude`; where these depend on results (an
image that is fooled leaves the batch, a last epoch that is not the best is judged beside it), an
expected share stands in.
"""

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from search_spaces.base import Spec
from search_spaces.errors import InputError
from search_spaces.regimes import Attack, Containment, Evaluation, Regime
from search_spaces.spec import AutoAttackCheck, Check, Dataset, Model, Theta, Transfer
from trainables.data import layouts
from trainables.data.catalogue import SPLIT_SIZES, absent, channels_and_classes, place

JUDGED = 256
"""Images in a batch that is judged; equals evaluation.BATCH, which needs torch."""

# Share of (image, attack step) pairs that a judgement computes: images that are wrong when clean
# are not attacked, and under worst_iterate those fooled leave. Seen on the quickstart's networks.
PLAIN_SHARE = 0.9
WORST_SHARE_TRAINED = 0.55
WORST_SHARE_UNTRAINED = 0.2
# AutoAttack's standard ensemble: APGD-CE 100 steps, targeted APGD and FAB 9 x 100 each (FAB with
# two passes a step), on what is left standing; Square 5,000 forward passes.
AUTOATTACK_STEPS, AUTOATTACK_PASSES = 100 + 900 + 1800, 5000

Operation = Literal["train", "attack", "judge_attack", "judge"]


class Net(Spec):
    """What decides the cost of a pass through a network; its head hardly does."""

    model: Model
    size: int
    channels: int


class Step(Spec):
    """A kind of step.

    train: forward, backward to the parameters, update, mask; attack: gradient with respect to the
    images in train mode, and the move; judge_attack: the same in eval mode; judge: forward only.
    """

    net: Net
    operation: Operation
    batch: int


Steps = dict[Step, float]
"""How many of each kind."""


@dataclass(frozen=True)
class Sizes:
    """Images in each split."""

    train: int
    val: int
    test: int


@lru_cache(maxsize=64)
def sizes(dataset: Dataset) -> Sizes:
    """Images in each split of a dataset under its limit, without reading pixels: from the
    catalogue, an npz file's headers or a folder's names. Raises InputError where these are not
    there."""
    if dataset.name in SPLIT_SIZES:
        counts = SPLIT_SIZES[dataset.name]
    elif dataset.name == "npz":
        counts = _of_npz(dataset)
    else:
        listing = {split: len(names) for split, names in layouts.layout(dataset).items()}
        counts = _parted(listing["train"], listing.get("val"), listing["test"])
    return Sizes(*(min(count, dataset.limit or count) for count in counts))


def _parted(train: int, val: int | None, test: int) -> tuple[int, int, int]:
    """A tenth of train, at most 10,000 images, is held out where there is no val."""
    if val is None:
        val = max(1, min(round(0.1 * train), 10_000))
        train -= val
    return train, val, test


def _of_npz(dataset: Dataset) -> tuple[int, int, int]:
    import numpy as np

    try:
        with np.load(place(dataset), allow_pickle=False) as arrays:
            train, test = (len(arrays[name]) for name in ("train_y", "test_y"))
    except FileNotFoundError as error:
        raise absent(dataset, place(dataset)) from error
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"dataset {dataset.title}: {dataset.path}: {error}") from error
    val = max(1, round(0.1 * train))
    return train - val, val, test


@lru_cache(maxsize=64)
def net(model: Model, dataset: Dataset) -> Net:
    """The network of a spec on a dataset's images."""
    bare = model.model_copy(update={"normalisation": None})
    return Net(model=bare, size=dataset.size, channels=channels_and_classes(dataset)[0])


class TransferKind(Spec):
    """What decides the cost of a transfer. Its ticket and seed do not: a masked network takes as
    long as a dense one."""

    model: Model
    dataset: Dataset
    fraction: float
    regime: Regime
    evaluation: Evaluation
    checks: tuple[Check, ...] | None


def transfer_kind(transfer: Transfer) -> TransferKind:
    """The kind of a transfer; transfers of a kind are equal work."""
    # Fields of a valid transfer are valid: thousands of kinds need not be validated again.
    return TransferKind.model_construct(
        model=transfer.ticket.theta.model,
        dataset=transfer.dataset,
        fraction=transfer.fraction,
        regime=transfer.regime,
        evaluation=transfer.evaluation,
        checks=transfer.checks,
    )


def transfer_steps(what: TransferKind) -> Steps:
    """One transfer: training, and judging its best and its last state."""
    data, regime, evaluation = what.dataset, what.regime, what.evaluation
    on, there = net(what.model, data), sizes(data)
    images = Sizes(max(1, round(what.fraction * there.train)), there.val, there.test)
    total = fit_steps(on, images, regime, evaluation)
    # The last state is the best one in one case out of as many as were validated.
    times = 2 - 1 / validated(regime)
    add(total, judge_steps(on, there.test, evaluation.attack, evaluation, regime), times)
    for check in what.checks or ():
        add(total, _check_steps(check, on, there.test, data))
    return total


def theta_steps(theta: Theta, workers: int = 1) -> Steps:
    """Pre-training and judging; or, for published weights, judging on validation images."""
    on, images = net(theta.model, theta.dataset), sizes(theta.dataset)
    regime, evaluation = theta.pretraining.train, theta.evaluation
    if regime is None:
        return judge_steps(on, images.val, evaluation.attack, evaluation, None)
    total = fit_steps(on, images, regime, evaluation, workers)
    add(total, judge_steps(on, images.test, evaluation.attack, evaluation, regime))
    return total


def retraining_steps(theta: Theta, regime: Regime, workers: int = 1) -> Steps:
    """One IMP round's re-training on the source."""
    return fit_steps(net(theta.model, theta.dataset), sizes(theta.dataset), regime, None, workers)


def fit_steps(
    on: Net, images: Sizes, regime: Regime, evaluation: Evaluation | None, workers: int = 1
) -> Steps:
    """What one process of `training.fit` does; with several, each has its share of a batch."""
    recipe, attack = regime.recipe, regime.attack
    steps = recipe.epochs * max(1, images.train // recipe.batch_size)
    batch = max(1, min(recipe.batch_size, images.train) // workers)
    total: Steps = {Step(net=on, operation="train", batch=batch): float(steps)}
    if attack:
        mode: Operation = "attack" if regime.attack_mode == "train" else "judge_attack"
        add(total, {Step(net=on, operation=mode, batch=batch): float(steps * attack.steps)})
    if evaluation:
        judged = judge_steps(
            on, images.val, evaluation.validation if attack else None, evaluation, regime
        )
        add(total, judged, validated(regime))
        if attack and regime.containment:
            add(total, _probe_steps(on, images.val, regime.containment), recipe.epochs)
    return total


def validated(regime: Regime) -> int:
    """How many epochs of a training are validated."""
    recipe = regime.recipe
    if regime.containment:
        return recipe.epochs
    return recipe.epochs - min(recipe.validate_from, recipe.epochs) + 1


def judge_steps(
    on: Net, images: int, attack: Attack | None, evaluation: Evaluation, regime: Regime | None
) -> Steps:
    """Judging images clean and, with an attack, under it, after training under a regime."""
    total = _passes(on, "judge", images, 1)
    if attack:
        share = PLAIN_SHARE
        if evaluation.protocol == "worst_iterate" and attack.kind == "pgd":
            trained = regime is None or regime.attack is not None
            share = WORST_SHARE_TRAINED if trained else WORST_SHARE_UNTRAINED
        effort = share * attack.restarts
        add(total, _passes(on, "judge_attack", images, attack.steps * effort))
        add(total, _passes(on, "judge", images, effort))
    return total


def _probe_steps(on: Net, images: int, containment: Containment) -> Steps:
    """FGSM, PGD and the gradients at two places, each image with its clean passes."""
    probed = min(images, containment.probe_images)
    total = _passes(on, "judge", probed, 4)
    add(total, _passes(on, "judge_attack", probed, 1 + containment.probe_steps + 2))
    return total


def _check_steps(check: Check, on: Net, test: int, data: Dataset) -> Steps:
    images = min(test, check.images or test)
    if isinstance(check, AutoAttackCheck):
        total = _passes(on, "judge_attack", images, WORST_SHARE_TRAINED * AUTOATTACK_STEPS)
        add(total, _passes(on, "judge", images, WORST_SHARE_TRAINED * AUTOATTACK_PASSES))
        return total
    total = _passes(net(check.model, data), "judge_attack", images, check.attack.steps)
    add(total, _passes(on, "judge", images, 1))
    return total


def _passes(on: Net, operation: Operation, images: int, times: float) -> Steps:
    batch = min(JUDGED, images)
    return {Step(net=on, operation=operation, batch=batch): times * images / batch}


def add(total: Steps, more: Steps, times: float = 1) -> None:
    """Adds `more`, so many times, to `total`."""
    for step, count in more.items():
        total[step] = total.get(step, 0.0) + times * count
