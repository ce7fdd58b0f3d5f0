"""Channels that do nothing, taken out of a network: it computes the same with smaller layers.

Removed are channels that reach no layer with anything but zeros, or that only zero weights read:
what they add is zero, so the outputs are the same up to the order in which the rest is summed. A
channel that is one number everywhere, as a dead convolution's behind its norm, cannot be folded
into a bias where the next convolution pads; of several beside each other the strongest takes over
what the others add, in proportion, and one is left.
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.export.channels import wiring
from trainables.export.wiring import Layer, Wiring, used


@dataclass(frozen=True)
class Removal:
    """net: the network without them; channels: of each layer that has lost some, (left, before);
    total: the channels of all layers that were looked at, (left, before); reason: why none could
    be looked for, as where a forward pass cannot be traced."""

    net: nn.Module
    channels: dict[str, tuple[int, int]]
    total: tuple[int, int]
    reason: str | None = None

    @property
    def share(self) -> float:
        """The share of all channels that is gone, in [0, 1]."""
        left, before = self.total
        return 1 - left / before if before else 0.0


def without_dead_channels(net: nn.Module) -> Removal:
    """What `net` computes in eval mode, without the channels that do nothing: a copy, in eval mode,
    with the same names of parameters. `net` is left as it is."""
    copy = deepcopy(net).eval()
    try:
        found = wiring(copy)
    # Foreign networks raise anything while they are traced.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return Removal(copy, {}, (0, 0), f"its forward pass cannot be traced: {reason}")
    alive = _needed(copy, found)
    _merge_constants(copy, found, alive)
    _leave_one(found, alive)
    sizes: dict[str, tuple[int, int]] = {}
    with torch.no_grad():
        for name in found.makes:
            sizes[name] = _cut_layer(copy, name, found, alive)
        for name, ids in found.follows.items():
            _cut_follower(copy.get_submodule(name), alive[found.roots(ids)])
    total = tuple(map(sum, zip(*sizes.values(), strict=True))) if sizes else (0, 0)
    changed = {name: size for name, size in sizes.items() if size[0] < size[1]}
    return Removal(copy, changed, (total[0], total[1]))


def _layer(net: nn.Module, name: str) -> Layer:
    layer = net.get_submodule(name)
    assert isinstance(layer, Layer)
    return layer


def _needed(net: nn.Module, found: Wiring) -> Tensor:
    """(channels,) bool, by root: which are read, with more than zeros, by one that is needed."""
    alive = torch.zeros(len(found.same), dtype=torch.bool)
    for number in found.kept:
        alive[found.root(number)] = True
    roots = {name: found.roots(ids) for name, ids in found.makes.items()}
    reads = [
        (roots[name], found.roots(flow.ids), used(_layer(net, name).weight) & (flow.constant != 0))
        for name, calls in found.reads.items()
        for flow in calls
        if flow
    ]
    before = -1
    while before != (before := int(alive.sum())):
        for rows, columns, joined in reads:
            alive[columns[joined[alive[rows]].any(0)]] = True
    return alive


def _merge_constants(net: nn.Module, found: Wiring, alive: Tensor) -> None:
    """Of living channels that are constant wherever they are read, and read by the same layers, the
    strongest takes over the columns of the others, which live no longer."""
    places: dict[int, list[tuple[str, int, int, float]]] = {}
    for name, calls in found.reads.items():
        for call, flow in enumerate(calls):
            if flow is None:
                continue
            constants = zip(found.roots(flow.ids).tolist(), flow.constant.tolist(), strict=True)
            for column, (root, constant) in enumerate(constants):
                places.setdefault(root, []).append((name, call, column, constant))
    kept = {found.root(number) for number in found.kept}
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for root, reads in places.items():
        still = all(constant == constant and constant != 0 for *_, constant in reads)
        # A layer in several places has one column for all of them.
        once = all(call == 0 for _, call, *_ in reads)
        if alive[root] and root not in kept and still and once:
            groups.setdefault(tuple(read[:2] for read in reads), []).append(root)
    for roots in groups.values():
        strongest = max(roots, key=lambda root: abs(places[root][0][3]))
        for root in set(roots) - {strongest}:
            for (name, _, to, large), (*_, column, small) in zip(
                places[strongest], places[root], strict=True
            ):
                weight = _layer(net, name).weight
                weight.data[:, to] += small / large * weight.data[:, column]
            alive[root] = False


def _leave_one(found: Wiring, alive: Tensor) -> None:
    """A layer keeps one channel at least, whatever it does."""
    for ids in found.makes.values():
        roots = found.roots(ids)
        if not alive[roots].any():
            alive[roots[0]] = True


def _cut_layer(net: nn.Module, name: str, found: Wiring, alive: Tensor) -> tuple[int, int]:
    """Takes a layer's dead rows and columns out; (rows left, rows before)."""
    layer = _layer(net, name)
    rows = alive[found.roots(found.makes[name])]
    weight = layer.weight.data[rows]
    flow = found.reads[name][0]
    if flow and len(flow.ids) == weight.shape[1]:
        weight = weight[:, alive[found.roots(flow.ids)]]
    layer.weight = _like(layer.weight, weight)
    if layer.bias is not None:
        layer.bias = _like(layer.bias, layer.bias.data[rows])
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    else:
        layer.out_channels, layer.in_channels = weight.shape[:2]
    return len(weight), len(rows)


def _cut_follower(module: nn.Module, left: Tensor) -> None:
    """Takes a norm's or a depthwise convolution's dead channels out."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, _like(parameter, parameter.data[left]))
    for name, buffer in list(module.named_buffers(recurse=False)):
        if buffer.dim():
            setattr(module, name, buffer[left].clone())
    if isinstance(module, nn.BatchNorm2d):
        module.num_features = int(left.sum())
    elif isinstance(module, nn.Conv2d):
        module.in_channels = module.out_channels = module.groups = int(left.sum())


def _like(parameter: Tensor, values: Tensor) -> nn.Parameter:
    layout = torch.channels_last if values.dim() == 4 else torch.contiguous_format
    values = values.clone(memory_format=layout)
    return nn.Parameter(values, requires_grad=parameter.requires_grad)
