"""Masks over convolution weights: {parameter name: bool tensor, True = kept}.

Heads, norm layers and biases are never pruned. Counts are exact.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

Mask = dict[str, Tensor]
State = dict[str, Tensor]


def prunable(model: nn.Module) -> list[str]:
    """Names of the convolution weights, in the model's order."""
    return [
        f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)
    ]


def ones(model: nn.Module) -> Mask:
    """The dense network's mask, on the CPU."""
    weights = dict(model.named_parameters())
    return {name: torch.ones(weights[name].shape, dtype=torch.bool) for name in prunable(model)}


def prune_by_magnitude(weights: Mapping[str, Tensor], mask: Mask, keep: int) -> Mask:
    """Keeps exactly `keep` of the mask's weights: the largest by magnitude, over all layers.

    Equal magnitudes are pruned in the order of names and places, so the count is exact and the
    result is the same everywhere. Weights that the mask has pruned stay pruned. Raises ValueError
    when the mask holds fewer than `keep`, or a weight is not finite.
    """
    flat = _flat(mask)
    size = torch.cat([weights[name].detach().abs().flatten().cpu() for name in mask])
    if not torch.isfinite(size.max()):
        raise ValueError("a weight is NaN or infinite: magnitudes cannot be compared")
    dead = int((~flat).count_nonzero())
    alive = len(flat) - dead
    if alive < keep:
        raise ValueError(f"the mask holds {alive} weights, fewer than the {keep} to keep")
    if alive > keep:
        # Pruned weights sort below all others. numpy selects faster than torch's kthvalue.
        size.masked_fill_(~flat, -1)
        last = len(flat) - keep - 1
        threshold = float(np.partition(size.numpy(), last)[last])
        flat = size > threshold
        ties = (size == threshold).nonzero().flatten()
        flat[ties[len(ties) - (keep - int(flat.count_nonzero())) :]] = True
    return _unflat(flat, mask)


def random(mask: Mask, keep: int, rng: torch.Generator) -> Mask:
    """Keeps exactly `keep` of the mask's weights, drawn uniformly over all layers."""
    flat = _flat(mask)
    alive = flat.nonzero().flatten()
    drop = alive[torch.randperm(len(alive), generator=rng)[keep:]]
    flat[drop] = False
    return _unflat(flat, mask)


def rewind(theta: Mapping[str, Tensor], mask: Mask) -> State:
    """theta's weights under the mask: kept ones bit for bit, pruned ones zero."""
    return {
        name: value.masked_fill(~mask[name], 0) if name in mask else value.clone()
        for name, value in theta.items()
    }


def factors(model: nn.Module, mask: Mask) -> dict[str, Tensor]:
    """What `apply_` multiplies the model's parameters by: 1 where the mask keeps, 0 where it prunes
    (uint8), each on its parameter's device and in its layout: several times as fast as filling."""
    return {
        name: torch.empty_like(parameter, dtype=torch.uint8).copy_(mask[name])
        for name, parameter in model.named_parameters()
        if name in mask
    }


def apply_(model: nn.Module, factors: Mapping[str, Tensor]) -> None:
    """Zeroes, in place, the parameters that a mask prunes. Called after every optimiser step, so
    momentum and weight decay revive nothing."""
    weights = dict(model.named_parameters())
    if factors:
        with torch.no_grad():
            torch._foreach_mul_([weights[name] for name in factors], list(factors.values()))


def counts(mask: Mask) -> tuple[int, int]:
    """(kept, total) over all layers."""
    return sum(int(m.sum()) for m in mask.values()), sum(m.numel() for m in mask.values())


def layer_sparsity(mask: Mask) -> dict[str, float]:
    """Share of pruned weights in each layer, in [0, 1]."""
    return {name: 1 - int(m.sum()) / m.numel() for name, m in mask.items()}


def _flat(mask: Mask) -> Tensor:
    return torch.cat([m.flatten() for m in mask.values()])


def _unflat(flat: Tensor, like: Mask) -> Mask:
    parts = flat.split([m.numel() for m in like.values()])
    return {
        name: part.view(m.shape).clone()
        for (name, m), part in zip(like.items(), parts, strict=True)
    }
