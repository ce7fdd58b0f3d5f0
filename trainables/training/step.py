"""One step of a training: attack, forward, backward, optimiser, mask."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from search_spaces.regimes import Regime
from trainables.pruning.masks import apply_
from trainables.runtime.precision import autocast
from trainables.training.evaluation import evaluating
from trainables.training.perturbation import perturbed
from trainables.training.tasks.classification import CLASSIFICATION
from trainables.training.tasks.task import Task


def bare(model: nn.Module) -> nn.Module:
    """The network itself, where `model` is its DistributedDataParallel."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    regime: Regime,
    rng: torch.Generator,
    weight: float = 1.0,
    alpha: Tensor | None = None,
    task: Task = CLASSIFICATION,
) -> tuple[Tensor, Tensor]:
    """One optimiser step on a batch x (N, C, H, W) in [0, 1], y (N, ...), labels where the task is
    classification; returns (mean loss, number of images that are right), both on the images as
    trained on (attacked, if the regime says so), as tensors without dimensions: nothing of
    classification waits for the device.

    kept: the mask's `factors`; the attack's draws come from `rng`; weight: see gradients;
    alpha: see attacks.perturb. The optimiser's own settings, its learning rate among them, are the
    caller's.
    """
    loss, right = gradients(model, x, y, regime, rng, weight, alpha, kept, task)
    if regime.recipe.clip is not None:
        _clip(bare(model), kept, regime.recipe.clip)
    optimizer.step()
    apply_(bare(model), kept)
    return loss, right


def gradients(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    regime: Regime,
    rng: torch.Generator,
    weight: float = 1.0,
    alpha: Tensor | None = None,
    kept: Mapping[str, Tensor] | None = None,
    task: Task = CLASSIFICATION,
) -> tuple[Tensor, Tensor]:
    """(mean loss, number of images that are right) of a batch; leaves the mean loss's
    gradient, times `weight`, in the parameters. Ranks average their gradients: one with more than
    its equal share of the images weighs as much more.

    With the recipe's `micro_batch`, the gradients of micro-batches add up to the batch's, but each
    is attacked, weights are perturbed for it and, in train mode, it is normalised by itself. kept:
    the mask's `factors`, which a perturbation of weights keeps to.
    """
    net = bare(model)
    net.zero_grad(set_to_none=True)
    total, right = torch.zeros(2, device=y.device).unbind()
    sizes = micro_batches(len(y), regime.recipe.micro_batch)
    for number, (images, labels) in enumerate(zip(x.split(sizes), y.split(sizes), strict=True), 1):
        with autocast(x.device):
            attacked = _attacked(task, net, images, labels, regime, rng, alpha)
        share = len(labels) / len(y)
        moved = _moved(task, net, images, attacked, labels, regime, kept or {}, weight)
        with moved, _exchange(model, now=number == len(sizes)):
            with autocast(x.device):
                loss, own = task.loss(model, images, attacked, labels, regime.loss)
            (loss * (share * weight)).backward()
        total += loss.detach() * share
        right += own
    return total, right


def _clip(net: nn.Module, kept: Mapping[str, Tensor], longest: float) -> None:
    """Shortens the gradient of the weights that a mask keeps to an L2 norm of at most `longest`."""
    slopes = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    for name in kept.keys() & slopes.keys():
        slopes[name].mul_(kept[name])
    nn.utils.clip_grad_norm_(net.parameters(), longest)


def micro_batches(images: int, size: int | None) -> list[int]:
    """How many images of a batch are in each of its micro-batches: `size`, and the rest in the
    last. A rest of one image, which BatchNorm cannot normalise, is joined to the one before."""
    if size is None or images <= size:
        return [images]
    whole, rest = divmod(images, size)
    sizes = [size] * whole + ([rest] if rest else [])
    return [*sizes[:-2], sizes[-2] + 1] if rest == 1 else sizes


def _exchange(model: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Processes exchange gradients once a batch: with its last micro-batch."""
    if now or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def _attacked(
    task: Task,
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    regime: Regime,
    rng: torch.Generator,
    alpha: Tensor | None,
) -> Tensor:
    """Images as the regime trains on them, BatchNorm in the mode that it names."""
    if regime.attack is None:
        return x
    with evaluating(net) if regime.attack_mode == "eval" else nullcontext():
        return task.attacked(net, x, y, regime.attack, regime.loss, rng, alpha)


def _moved(
    task: Task,
    net: nn.Module,
    x: Tensor,
    attacked: Tensor,
    y: Tensor,
    regime: Regime,
    kept: Mapping[str, Tensor],
    weight: float,
) -> AbstractContextManager[None]:
    """Inside, weights are where the regime takes the gradient."""
    if regime.awp is None:
        return nullcontext()

    def loss(model: nn.Module) -> Tensor:
        with autocast(x.device):
            return task.loss(model, x, attacked, y, regime.loss)[0] * weight

    return perturbed(net, loss, regime.awp.gamma, kept)
