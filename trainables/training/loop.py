"""The training loop: one for pre-training, IMP re-training and transfers. It knows no framework."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from search_spaces.regimes import Evaluation, Recipe, Regime
from search_spaces.spec import Augmentation, Scores
from trainables.data.images import Images, ImageSet, Splits
from trainables.pruning.masks import Mask, State, apply_, factors
from trainables.runtime import memory
from trainables.runtime.capture import EAGER
from trainables.runtime.seeding import derived, drawing, generator
from trainables.training.overfitting import Signals, collapsed, probe
from trainables.training.ranks import Shard, any_of, from_first, share_buffers
from trainables.training.recipes.averages import Average
from trainables.training.recipes.optimizers import optimizer_of, restore, state_of
from trainables.training.recipes.schedule import learning_rate
from trainables.training.recorder import steps_of
from trainables.training.step import bare
from trainables.training.tasks.classification import CLASSIFICATION
from trainables.training.tasks.task import Task


@dataclass(frozen=True)
class Best:
    """The best validated state so far: its epoch, validation scores and weights (on the CPU)."""

    epoch: int
    scores: Scores
    state: State = field(repr=False)


@dataclass(frozen=True)
class Progress:
    """Everything that a training needs to go on after `epoch` as if it had never stopped: weights
    and statistics, the optimiser's state (`momentum`; see optimizers.state_of), the attack's alpha
    in force, the signals so far, the best state, the weights' average. All tensors are on the CPU.
    """

    epoch: int
    state: State = field(repr=False)
    momentum: State = field(repr=False)
    alpha: float | None
    history: tuple[Signals, ...]
    best: Best | None
    average: State = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training did.

    number: from 1; loss, accuracy: means over training batches as trained on (attacked, if so);
    lr: at the epoch's last step; alpha: the training attack's, None without one; val: accuracies
    in [0, 1], None for an epoch that is not validated (its ra None where the regime has no
    attack); signals: of catastrophic overfitting, where the regime is watched for it, and
    collapsed: has it, by them? progress(): what a training needs to go on from here, to be called
    before the next epoch is asked for; execution: how its steps were executed, see
    runtime.capture.
    """

    number: int
    loss: float
    accuracy: float
    lr: float
    alpha: float | None
    seconds: float
    val: Scores | None
    signals: Signals | None
    collapsed: bool
    best: Best | None
    progress: Callable[[], Progress] = field(repr=False, compare=False)
    execution: str = EAGER


def snapshot(model: nn.Module) -> State:
    """A copy of the model's state on the CPU, in the default memory layout."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


def fit(
    model: nn.Module,
    data: Splits,
    regime: Regime,
    seed: int,
    evaluation: Evaluation | None = None,
    mask: Mask | None = None,
    augmentation: Augmentation | None = None,
    shard: Shard | None = None,
    resume: Progress | None = None,
    task: Task = CLASSIFICATION,
) -> Iterator[Epoch]:
    """Trains `model` in place for a task on `data.train`, yielding each Epoch as it ends.

    With `evaluation`, epochs from `recipe.validate_from` on are validated and the best state is
    kept: highest clean accuracy without an attack, highest accuracy under `evaluation.validation`
    with one; of equals, the latest. A regime with `containment` is watched for catastrophic
    overfitting and every epoch is validated; `on_collapse: lower_alpha` acts here, stopping is
    the caller's. With `mask`, pruned weights are zero before the first step and after every one.
    Where the recipe averages weights, it is the average that is validated and that `model` holds
    in the end.

    A DistributedDataParallel model trains on its `shard` of each batch; all ranks then hold the
    same weights, statistics and best state, and decide as the first does. Everything random comes
    from `seed`; an epoch's batches do not depend on earlier epochs: with `resume`, the epochs after
    it come out as if there had been no interruption, bit for bit on a CPU. The last, incomplete
    batch of an epoch is trained on too; see Recipe.batches.

    Raises FloatingPointError when the loss or a weight is not finite at the end of an epoch,
    OutOfMemoryError where the recipe's micro_batch or the evaluation's batch_size is too large.
    """
    recipe, shard = regime.recipe, shard or Shard()
    net = bare(model)
    device = next(net.parameters()).device
    data = data.to(device)
    kept = factors(net, mask or {})
    apply_(net, kept)
    optimizer = optimizer_of(net, recipe)
    average = Average(net, recipe.averaging) if recipe.averaging else None
    steps = steps_of(model, optimizer, kept, augmentation or Augmentation(), recipe, task)
    at_once = min(recipe.micro_batch or recipe.batch_size, recipe.batch_size)
    sizes = recipe.batches(len(data.train), shard.world)
    in_epoch = len(sizes)
    best: Best | None = None
    history: list[Signals] = []
    lowers_alpha = regime.containment and regime.containment.on_collapse == "lower_alpha"
    if resume:
        best, history = resume.best, list(resume.history)
        regime = _with_alpha(regime, resume.alpha)
        net.load_state_dict(resume.state)
        restore(net, optimizer, resume.momentum)
        if average:
            average.restore(resume.average)
    for number in range(resume.epoch + 1 if resume else 1, recipe.epochs + 1):
        if best and lowers_alpha and collapsed(history, regime.containment, len(data.val)):
            net.load_state_dict(best.state)
            optimizer.state.clear()
            history.clear()
            average = Average(net, recipe.averaging) if recipe.averaging else None
            assert regime.attack is not None, "only an attack is watched"
            regime = _with_alpha(regime, regime.attack.alpha / 2)
        started = time.monotonic()
        rng = generator(seed, "noise", number, shard.rank, device=device)
        seen = 0
        model.train()
        with (
            memory.naming(at_once, "training", "the recipe's micro_batch"),
            drawing(seed, "layers", number, shard.rank, device=device),
            steps.epoch(_in_epoch(regime, number), rng) as totals,
        ):
            for step, batch in enumerate(batches(data.train, recipe, seed, number, shard)):
                in_all = (number - 1) * in_epoch + step
                lr = learning_rate(recipe, in_all, in_epoch)
                steps.take(batch, lr, weight=len(batch) * shard.world / sizes[step])
                if average:
                    average.after_step(net, in_all)
                seen += len(batch)
            loss, accuracy = (total.item() / seen for total in (totals.loss, totals.right))
        share_buffers(net)
        if not _finite(net, loss):
            raise FloatingPointError(f"diverged in epoch {number} (training loss {loss:g})")
        counts = net
        if average:
            average.after_epoch(net, number)
            if number == recipe.epochs or (evaluation and _validates(regime, number)):
                counts = average.network(net, data.train, number)
                share_buffers(counts)
        val = None
        if evaluation and _validates(regime, number):
            val = from_first(validate(counts, data.val, regime, evaluation, task))
            if best is None or _score(val, regime) >= _score(best.scores, regime):
                best = Best(number, val, snapshot(counts))
        if evaluation and regime.attack and regime.containment:
            shown = probe(counts, data.val, regime.attack, regime.containment, seed=0)
            history.append(from_first(shown))
        if number == recipe.epochs and counts is not net:
            net.load_state_dict(counts.state_dict())
        yield Epoch(
            number,
            loss=loss,
            accuracy=accuracy,
            lr=lr,
            alpha=regime.attack.alpha if regime.attack else None,
            seconds=time.monotonic() - started,
            val=val,
            signals=history[-1] if history else None,
            collapsed=collapsed(history, regime.containment, len(data.val)),
            best=best,
            progress=partial(
                _progress, net, optimizer, number, regime, tuple(history), best, average
            ),
            execution=steps.execution,
        )


def _validates(regime: Regime, number: int) -> bool:
    """Is this epoch validated? Where a collapse is watched for, all are: the state before it
    is what will count."""
    recipe = regime.recipe
    return number >= recipe.validate_from or number == recipe.epochs or bool(regime.containment)


def _with_alpha(regime: Regime, alpha: float | None) -> Regime:
    if regime.attack is None or alpha is None:
        return regime
    attack = regime.attack.model_copy(update={"alpha": alpha})
    return regime.model_copy(update={"attack": attack})


def _in_epoch(regime: Regime, number: int) -> Regime:
    """The regime as it is in an epoch."""
    if regime.awp is None or number >= regime.awp.start:
        return regime
    return regime.model_copy(update={"awp": None})


def _progress(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    regime: Regime,
    history: tuple[Signals, ...],
    best: Best | None,
    average: Average | None,
) -> Progress:
    alpha = regime.attack.alpha if regime.attack else None
    state, averaged = state_of(net, optimizer), average.by_name if average else {}
    return Progress(epoch, snapshot(net), state, alpha, history, best, averaged)


def _finite(net: nn.Module, loss: float) -> bool:
    """Can a training go on? All of its ranks answer alike."""
    values = [value for value in net.state_dict().values() if value.is_floating_point()]
    # A sum is not finite if a summand is not, and much faster to look at.
    lost = ~torch.stack([value.sum() for value in values]).isfinite().all()
    lost |= not math.isfinite(loss)
    return not any_of(lost)


def batches(
    images: ImageSet, recipe: Recipe, seed: int, epoch: int, shard: Shard
) -> Iterator[Images]:
    """One epoch's batches in an order drawn from (seed, epoch); of each, this rank's part."""
    order = torch.randperm(len(images), generator=generator(seed, "order", epoch))
    order = order.to(images.y.device)
    sizes = recipe.batches(len(images), shard.world)
    parts = [batch[shard.rank :: shard.world] for batch in order.split(sizes)]
    return images.stream(parts, derived(seed, "views", epoch))


def validate(
    net: nn.Module,
    images: ImageSet,
    regime: Regime,
    evaluation: Evaluation,
    task: Task = CLASSIFICATION,
) -> Scores:
    """The clean score, and the score under attack (its last iterate) where the regime trains for
    it: the protocol is of test images alone, so that it decides no weights."""
    attack = evaluation.validation if regime.attack else None
    return task.evaluate(net, images, attack, batch_size=evaluation.batch_size).scores


def _score(scores: Scores, regime: Regime) -> float:
    """What a regime's best epoch is chosen by."""
    score = scores.sa if regime.attack is None else scores.ra
    assert score is not None
    return score
