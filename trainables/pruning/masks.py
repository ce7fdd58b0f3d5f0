"""Masks over prunable weights: {parameter name: bool tensor, True = kept}.

Heads, norm layers and biases are never pruned. Counts are exact.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.prunings import CHANNEL, UNSTRUCTURED, Scope
from trainables.models.anatomy import prunable
from trainables.pruning.allotment import allotted

Mask = dict[str, Tensor]
State = dict[str, Tensor]
Scores = Mapping[str, Tensor]
"""A number for every weight, by parameter name: the highest are kept."""


def ones(model: nn.Module) -> Mask:
    """The dense network's mask, on the CPU."""
    weights = dict(model.named_parameters())
    return {name: torch.ones(weights[name].shape, dtype=torch.bool) for name in prunable(model)}


def keep(
    scores: Scores,
    mask: Mask,
    count: int,
    scope: Scope = "global",
    structure: str = UNSTRUCTURED,
) -> Mask:
    """Keeps exactly `count` of the mask's weights, those that score highest: of the whole network,
    or of each layer, as the scope says; in an n:m structure, at most n of every m inputs.

    Equal scores are pruned in the order of names and places, so the count is exact and the result
    is the same everywhere. Weights that the mask has pruned stay pruned. Raises ValueError where
    fewer than `count` may be kept, or a score is not finite.
    """
    mask = in_pattern(scores, mask, structure)
    if scope == "global":
        return _highest(scores, mask, count)
    shapes = {name: tuple(m.shape) for name, m in mask.items()}
    each = allotted(shapes, {name: int(m.sum()) for name, m in mask.items()}, count, scope)
    return {
        name: _highest({name: scores[name]}, {name: m}, each[name])[name]
        for name, m in mask.items()
    }


def prune_by_magnitude(weights: Mapping[str, Tensor], mask: Mask, count: int) -> Mask:
    """Keeps exactly so many of the mask's weights: the largest by magnitude, over all layers."""
    return keep(magnitudes(weights, mask), mask, count)


def random(mask: Mask, count: int, rng: torch.Generator) -> Mask:
    """Keeps exactly so many of the mask's weights, drawn uniformly over all layers."""
    return keep(draws(mask, rng), mask, count)


def magnitudes(weights: Mapping[str, Tensor], mask: Mask) -> Scores:
    """The size of each of the mask's weights."""
    return {name: weights[name].detach().abs() for name in mask}


def draws(mask: Mask, rng: torch.Generator) -> Scores:
    """The mask's weights in a random order: the first drawn scores highest."""
    flat = _flat(mask)
    alive = flat.nonzero().flatten()
    scores = torch.zeros(len(flat), dtype=torch.float64)
    order = torch.randperm(len(alive), generator=rng)
    scores[alive[order]] = torch.arange(len(alive), 0, -1, dtype=torch.float64)
    return _unflat(scores, mask)


def _highest(scores: Scores, mask: Mask, count: int) -> Mask:
    """Exactly `count` of the mask's weights, those of highest score over all of its layers."""
    flat = _flat(mask)
    score = torch.cat([scores[name].detach().flatten().cpu() for name in mask])
    if not all(bound.isfinite() for bound in score.aminmax()):
        raise ValueError("a weight's score is NaN or infinite: scores cannot be compared")
    dead = int((~flat).count_nonzero())
    alive = len(flat) - dead
    if alive < count:
        raise ValueError(f"the mask holds {alive} weights, fewer than the {count} to keep")
    if alive > count:
        # Pruned weights sort below all others. numpy selects faster than torch's kthvalue.
        score.masked_fill_(~flat, -torch.inf)
        last = len(flat) - count - 1
        threshold = float(np.partition(score.numpy(), last)[last])
        flat = score > threshold
        ties = (score == threshold).nonzero().flatten()
        flat[ties[len(ties) - (count - int(flat.count_nonzero())) :]] = True
    return _unflat(flat, mask)


def in_pattern(scores: Scores, mask: Mask, structure: str) -> Mask:
    """Of every m consecutive inputs of an output (at the same place of the kernel), the mask's n of
    highest score: along the dimension that semi-structured kernels multiply over. Layers whose
    inputs m does not divide are left as they are, and so is all that has another structure."""
    if structure in (UNSTRUCTURED, CHANNEL):
        return mask
    n, m = map(int, structure.split(":"))
    return {
        name: _in_groups(scores[name], kept, n, m) if kept.shape[1] % m == 0 else kept
        for name, kept in mask.items()
    }


def _in_groups(scores: Tensor, kept: Tensor, n: int, m: int) -> Tensor:
    score = scores.detach().cpu().masked_fill(~kept, -torch.inf).movedim(1, -1)
    groups = score.reshape(*score.shape[:-1], -1, m)
    best = groups.sort(stable=True).indices[..., m - n :]
    chosen = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, best, True)
    return chosen.reshape(score.shape).movedim(-1, 1) & kept


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
