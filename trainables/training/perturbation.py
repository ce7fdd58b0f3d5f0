"""Adversarial weight perturbation (Wu et al. 2020): weights where the loss is larger."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call

from trainables.training.ranks import several

_EPSILON = 1e-20


@contextmanager
def perturbed(
    net: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    gamma: float,
    kept: Mapping[str, Tensor],
) -> Iterator[None]:
    """Inside, each weight of two dimensions and more is moved by gamma ||w|| along its gradient of
    the loss, to first order the worst of its norm; those that a mask (`kept`: its factors) prunes
    stay zero. Afterwards, weights are the former ones bit for bit. Running statistics do not move.

    Ranks that train together move along the mean of their gradients.
    """
    weights = {name: p for name, p in net.named_parameters() if p.dim() > 1 and p.requires_grad}
    slopes = _slopes(net, loss, list(weights.values()))
    before = [weight.detach().clone() for weight in weights.values()]
    with torch.no_grad():
        for (name, weight), slope in zip(weights.items(), slopes, strict=True):
            size = gamma * weight.norm() / (slope.norm() + _EPSILON)
            weight.add_(slope * size * kept[name] if name in kept else slope * size)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(weights.values()), before)


def _slopes(
    net: nn.Module, loss: Callable[[nn.Module], Tensor], weights: list[Tensor]
) -> tuple[Tensor, ...]:
    apart = _Apart(net)
    slopes = torch.autograd.grad(loss(apart), weights)
    if several():
        for slope in slopes:
            distributed.all_reduce(slope)
    return slopes


class _Apart(nn.Module):
    """A network's passes with copies of its buffers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.buffers_ = {name: buffer.clone() for name, buffer in net.named_buffers()}
        self.call = net  # Registered as a module: its parameters are its own.

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = functional_call(self.call, self.buffers_, (x,))
        return out
