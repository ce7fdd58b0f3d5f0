"""Averages of a training's weights: after each step (EMA), or at the ends of epochs (SWA)."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces.regimes import Averaging, Ema
from trainables.data.images import ImageSet

_AT_ONCE = 256


class Average:
    """The average of a network's parameters so far, its weights' order; they are its own tensors.

    Pruned weights are zero in every summand and so in the average.
    """

    def __init__(self, net: nn.Module, how: Averaging) -> None:
        self.how = how
        self.weights = [parameter.detach().clone() for parameter in net.parameters()]
        self._names = [name for name, _ in net.named_parameters()]

    @property
    def by_name(self) -> dict[str, Tensor]:
        """The averaged parameters, on the CPU."""
        return {n: w.cpu().clone() for n, w in zip(self._names, self.weights, strict=True)}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Goes on from the parameters of an interrupted training."""
        for name, weight in zip(self._names, self.weights, strict=True):
            weight.copy_(weights[name])

    def after_step(self, net: nn.Module, step: int) -> None:
        """Takes in the weights after a step (from 0)."""
        if isinstance(self.how, Ema):
            decay = min(self.how.decay, (1 + step) / (10 + step))
            blend(self.weights, list(net.parameters()), 1 - decay)

    def after_epoch(self, net: nn.Module, number: int) -> None:
        """Takes in the weights at the end of an epoch (from 1)."""
        if not isinstance(self.how, Ema) and number >= self.how.start:
            blend(self.weights, list(net.parameters()), 1 / (number - self.how.start + 1))

    def network(self, net: nn.Module, images: ImageSet, number: int) -> nn.Module:
        """What counts after an epoch: a network like `net` of averaged weights whose BatchNorm
        statistics are those of the images; before an average has begun, `net` itself."""
        if not isinstance(self.how, Ema) and number < self.how.start:
            return net
        averaged = copy.deepcopy(net)
        with torch.no_grad():
            for parameter, weight in zip(averaged.parameters(), self.weights, strict=True):
                parameter.copy_(weight)
        renew_statistics(averaged, images)
        return averaged


def blend(average: Sequence[Tensor], weights: Sequence[Tensor], share: float) -> None:
    """Moves an average, in place, by a share of the way to the weights."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average), [w.detach() for w in weights], share)


def renew_statistics(net: nn.Module, images: ImageSet) -> None:
    """Makes BatchNorm's running statistics the mean of those of all batches of the images, clean
    and in their own order, as torch.optim.swa_utils.update_bn does."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta, training = [norm.momentum for norm in norms], net.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    net.eval()
    for norm in norms:
        norm.train()
    parts = torch.arange(len(images), device=images.y.device).split(_AT_ONCE)
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts = (*parts[:-2], torch.cat(parts[-2:]))
    with torch.no_grad():
        for batch in images.stream(parts, None):
            net(batch.pixels())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.train(training)
