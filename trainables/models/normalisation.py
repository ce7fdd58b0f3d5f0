"""Normalisation of pixels as part of a network, whatever the network."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)
_HOOK: Any = "normalise"


def normalised(net: N, mean: Sequence[float], std: Sequence[float]) -> N:
    """`net` itself, which from now on takes pixels (N, C, H, W) in [0, 1] and sees them less mean,
    over std; a number for each channel that it sees.

    A hook before its forward pass, and no module around it, so that its parameters keep the names
    under which its weights are published. One channel of pixels is broadcast to as many as there
    are numbers: grey images for networks that take colours.
    """
    # Not persistent: the normalisation follows the data, not the weights.
    net.register_buffer("pixel_mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
    net.register_buffer("pixel_std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
    # As register_forward_pre_hook does, but for the running number that it would stand under: equal
    # networks are equal, whichever was made first (training.workspace).
    net._forward_pre_hooks[_HOOK] = _normalise
    return net


def statistics(net: nn.Module) -> tuple[list[float], list[float]]:
    """(mean, std) that a network normalises by, a number for each channel."""
    mean, std = _buffers(net)
    return mean.flatten().tolist(), std.flatten().tolist()


def _normalise(net: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    pixels, *rest = inputs
    mean, std = _buffers(net)
    return (pixels - mean) / std, *rest


def _buffers(net: nn.Module) -> tuple[Tensor, Tensor]:
    return net.get_buffer("pixel_mean"), net.get_buffer("pixel_std")
