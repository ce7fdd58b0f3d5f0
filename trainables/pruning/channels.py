"""Whole channels: which weights compute each, which read it, and masks that keep or drop it whole.

A channel that layers add up, as along the shortcuts of a residual network, is one channel of all
of them. What is connected to what is found by torch-pruning (Fang et al. 2023, DepGraph).
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from search_spaces.errors import InputError
from search_spaces.prunings import Scope
from trainables.models.anatomy import anatomy, prunable
from trainables.pruning.masks import Mask, Scores, counts

_PASS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU)
"""Layers with parameters that hand each channel on by itself."""


@dataclass(frozen=True)
class Channels:
    """The channels of a network that can go, numbered from 1; number 0 stands for all that stay:
    the image's, the classes', those that something else than prunable layers computes too.

    computed: by the name of a prunable weight, the channel that each of its outputs is, (outputs,);
    read: the channel that each of its places reads, (outputs, inputs of each). sets: of each
    number, the set of channels that belong together: those of a layer, or of layers that add up.
    """

    computed: Mapping[str, Tensor]
    read: Mapping[str, Tensor]
    sets: Tensor

    def whole(self, mask: Mask, there: Tensor) -> Mask:
        """The mask without the weights that compute or read a channel that is not `there`."""
        return {
            name: kept
            & (there[self.computed[name]][:, None] & there[self.read[name]]).view(
                *kept.shape[:2], *[1] * (kept.dim() - 2)
            )
            for name, kept in mask.items()
        }


def keep_channels(
    scores: Scores, mask: Mask, count: int, channels: Channels, scope: Scope = "global"
) -> Mask:
    """Keeps the channels that score highest, as many as have at most `count` of the mask's weights
    together: of the whole network, or as large a share of each set as the scope `layer` says.

    A channel scores the mean of the weights that compute it and are still there. With a channel go
    the weights that read it. Equal scores are pruned in the order of the network. Raises ValueError
    where more than `count` weights are left without any channel that can go.
    """
    means = _means(scores, mask, channels)
    rank = means if scope == "global" else _shares(means, channels.sets)
    order = rank.argsort(stable=True)
    order = order[means[order].isfinite()]

    def without(gone: int) -> Mask:
        there = torch.ones(len(means), dtype=torch.bool)
        there[order[:gone]] = False
        return channels.whole(mask, there)

    least, most = 0, len(order)
    if (left := counts(without(most))[0]) > count:
        raise ValueError(f"{left} weights belong to channels that stay, more than {count} to keep")
    while least < most:
        middle = (least + most) // 2
        if counts(without(middle))[0] > count:
            least = middle + 1
        else:
            most = middle
    return without(least)


def stays(mask: Mask, channels: Channels) -> int:
    """How many weights are left at the least."""
    nothing = torch.zeros(len(channels.sets), dtype=torch.bool)
    nothing[0] = True
    return counts(channels.whole(mask, nothing))[0]


def _means(scores: Scores, mask: Mask, channels: Channels) -> Tensor:
    """Mean score of the weights that compute each channel, in float64; -inf of what cannot go: a
    channel of which nothing is there, and number 0."""
    total, number = torch.zeros(2, len(channels.sets), dtype=torch.float64)
    for name, kept in mask.items():
        score = scores[name].detach().cpu().double().masked_fill(~kept, 0).flatten(1)
        total.index_add_(0, channels.computed[name], score.sum(1))
        number.index_add_(0, channels.computed[name], kept.flatten(1).sum(1).double())
    if not total.isfinite().all():
        raise ValueError("scores hold NaN or infinity: nothing can be pruned by them")
    means = torch.where(number > 0, total / number, -torch.inf)
    means[0] = -torch.inf
    return means


def _shares(means: Tensor, sets: Tensor) -> Tensor:
    """Of each channel, the share of its set that scores no higher: by these, every set loses the
    same share."""
    order = means.argsort(stable=True)
    shares = torch.empty_like(means)
    for each in sets.unique():
        members = order[sets[order] == each]
        shares[members] = torch.arange(1, len(members) + 1, dtype=means.dtype) / len(members)
    return shares


def channels_of(net: nn.Module, shape: Sequence[int]) -> Channels:
    """The channels of a network that takes images of a shape (C, H, W). A channel stays if it is
    not only prunable weights that compute it (positional parameters, attention), or if its way
    cannot be told apart from others' (queries, keys and values in one). Raises InputError where
    torch-pruning is absent or cannot follow the network.
    """
    groups, layers = _groups(net, shape)
    computed = {name: torch.zeros(len(m.weight), dtype=torch.long) for m, name in layers.items()}
    inputs = {name: torch.zeros(_inputs(m), dtype=torch.long) for m, name in layers.items()}
    sets = [0]
    for number, group in enumerate(groups, start=1):
        for layer, computes, places, roots in group:
            into = computed if computes else inputs
            into[layers[layer]][places] = torch.tensor(roots) + len(sets)
        size = max(max(roots) for *_, roots in group) + 1
        sets += [number] * size
    read = {name: _by_place(layer, inputs[name]) for layer, name in layers.items()}
    return Channels(computed, read, torch.tensor(sets))


def _inputs(layer: Any) -> int:
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)


def _by_place(layer: Any, inputs: Tensor) -> Tensor:
    """What each place of a weight reads, (outputs, inputs of each): in a convolution of groups,
    outputs read the inputs of their own group."""
    groups = getattr(layer, "groups", 1)
    return inputs.view(groups, -1).repeat_interleave(len(layer.weight) // groups, dim=0)


_Item = tuple[nn.Module, bool, list[int], list[int]]
"""(layer, does it compute or read the channels?, its outputs or inputs, the channels they are)."""


def _groups(net: nn.Module, shape: Sequence[int]) -> tuple[list[list[_Item]], dict[Any, str]]:
    """(sets of channels that can go, each as what computes and reads it, in the network's order;
    its prunable layers with their weights' names), on a copy of the network."""
    try:
        import torch_pruning
    except ImportError:
        raise InputError(
            "structure channel: torch-pruning is not installed: pip install '.[channels]'"
        ) from None
    traced = copy.deepcopy(net).cpu().float().eval().requires_grad_(True)
    modules, names = dict(traced.named_modules()), prunable(net)
    owners = {name: modules[name.rpartition(".")[0]] for name in names}
    layers = {owner: name for name, owner in owners.items() if _is_layer(owner, name)}
    if len(layers) < len(names):
        other = next(name for name, owner in owners.items() if owner not in layers)
        raise InputError(
            f"structure channel: {other} is no weight of a convolution or linear layer: choose "
            "those by model.prunable, or leave structure out"
        )
    graph = torch_pruning.DependencyGraph()
    try:
        with torch.enable_grad(), warnings.catch_warnings(action="ignore"):
            graph.build_dependency(traced, torch.zeros(1, *shape), verbose=False)
            heads = [modules[head] for head in anatomy(net).heads]
            found = list(graph.get_all_groups(ignored_layers=heads))
    except Exception as error:  # It raises whatever its tracing stumbles over.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"structure channel: the network cannot be followed ({reason}): leave structure out"
        ) from error
    items = [_items(graph, group, layers) for group in found]
    place = {name: number for number, name in enumerate(names)}
    able = [group for group in items if group]
    return sorted(able, key=lambda g: min(place[layers[i[0]]] for i in g if i[1])), layers


def _is_layer(module: nn.Module, name: str) -> bool:
    kinds = isinstance(module, nn.Linear | _ConvNd) and not isinstance(module, _ConvTransposeNd)
    return kinds and name.endswith("weight")


def _items(graph: Any, group: Any, layers: Mapping[Any, str]) -> list[_Item]:
    """What computes and reads the channels of a group; empty where they stay."""
    items: list[_Item] = []
    size = len(group[0].idxs)
    for item in group.items:
        module, handler = item.dep.target.module, item.dep.handler
        computes = graph.is_out_channel_pruning_fn(handler)
        if module in layers:
            if len(set(item.root_idxs)) < size:
                return []
            items.append((module, computes, item.idxs, item.root_idxs))
        elif isinstance(module, nn.Parameter) or (computes and _has_weights(module)):
            return []
    return items


def _has_weights(module: nn.Module) -> bool:
    return not isinstance(module, _PASS) and any(True for _ in module.parameters())
