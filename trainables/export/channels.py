"""Where a network's channels come from and who reads them: its traced forward pass, followed.

A channel is followed from the layer that makes it through norms, activations and pooling to the
layers that read it; an addition makes one of two channels, since both stay or go. What is not known
here keeps all channels that it reads: nothing is assumed of it.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torchvision.ops.stochastic_depth import stochastic_depth

from trainables.export.wiring import Flow, Layer, Wiring, used
from trainables.models.resnets import Strided1x1

# Exactly these types: a type of its own may do something else with its weights.
_CONVOLUTIONS = (nn.Conv2d, Strided1x1)
_ELEMENTWISE: tuple[Any, ...] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Mish, nn.Tanh, nn.Sigmoid),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(torch.relu, torch.sigmoid, torch.tanh, F.relu, F.relu6, F.leaky_relu, F.elu, F.silu, F.gelu),
    *(F.mish, F.hardswish, F.hardsigmoid, F.dropout, stochastic_depth),
    *("relu", "relu_", "sigmoid", "tanh", "contiguous", "clone"),
)
_POOLING: tuple[Any, ...] = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d),
)
_FLAT: tuple[Any, ...] = (nn.Flatten, torch.flatten, "flatten")
_SUM: tuple[Any, ...] = (operator.add, operator.iadd, torch.add, "add", "add_")
_PRODUCT: tuple[Any, ...] = (operator.mul, operator.imul, torch.mul, "mul", "mul_")


def wiring(net: nn.Module) -> Wiring:
    """Of a network in eval mode. Raises whatever torch.fx raises where it cannot be traced."""
    return _Follower(net).followed()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return type(module) in _CONVOLUTIONS or super().is_leaf_module(module, name)


class _Follower:
    """Goes through a traced network, value by value."""

    def __init__(self, net: nn.Module) -> None:
        self.graph = _Tracer().trace(net)
        self.modules = dict(net.named_modules())
        self.wiring = Wiring()
        self.flows: dict[fx.Node, Flow | None] = {}

    def followed(self) -> Wiring:
        with torch.no_grad():
            for node in self.graph.nodes:
                self.flows[node] = self._flow(node)
        for node in self.graph.find_nodes(op="get_attr"):
            # Weights that are used by themselves, too.
            layer = str(node.target).rpartition(".")[0]
            if layer in self.wiring.makes:
                self.wiring.kept.update(self.wiring.makes[layer].tolist())
                self._keep(*self.wiring.reads[layer])
        return self.wiring

    def _flow(self, node: fx.Node) -> Flow | None:
        if node.op in ("placeholder", "get_attr"):
            return None
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        what = type(module) if module else node.target
        inputs = [self.flows[each] for each in node.all_input_nodes]
        if module and what in (*_CONVOLUTIONS, nn.Linear):
            return self._layer(str(node.target), module, inputs[0], node)
        flows = [flow for flow in inputs if flow]
        if node.op != "output" and flows and len(flows) == len(inputs):
            known = self._known(what, module, flows, node)
            if known:
                return known
        return self._unknown(node)

    def _known(
        self, what: Any, module: nn.Module | None, inputs: list[Flow], node: fx.Node
    ) -> Flow | None:
        """What comes out of an operation that is no layer; None if nothing is known of it."""
        first = inputs[0]
        if what is nn.BatchNorm2d and module and first.axis == 1:
            return self._norm(str(node.target), module, first)
        if what in (*_SUM, *_PRODUCT):
            return self._combined(what in _SUM, inputs, node)
        if what is torch.cat and (node.kwargs.get("dim", node.args[-1]) == 1):
            return self._joined(inputs)
        if len(inputs) > 1:
            return None
        if what in _ELEMENTWISE:
            return Flow(first.ids, _applied(module or what, first.constant, node), first.axis)
        if what in _POOLING and first.axis == 1:
            # Padding may enter the mean of a constant, and not that of zeros.
            kept = first.constant == 0
            return Flow(first.ids, torch.where(kept, 0.0, torch.nan), 1)
        if what in _FLAT and first.axis == 1 and _from_1(module, node):
            return Flow(first.ids, first.constant, -1)
        return None

    def _layer(self, name: str, layer: nn.Module, given: Flow | None, node: fx.Node) -> Flow | None:
        assert isinstance(layer, Layer)
        axis = -1 if isinstance(layer, nn.Linear) else 1
        if given and given.axis != axis:
            return self._unknown(node)
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            if given is None or not layer.groups == layer.in_channels == layer.out_channels:
                return self._unknown(node)
            return self._depthwise(name, layer, given)
        if given and (repeat := layer.weight.shape[1] // len(given.ids)) > 1:
            # Of flattened maps, a channel's places follow each other.
            ids, constant = (v.repeat_interleave(repeat) for v in (given.ids, given.constant))
            given = Flow(ids, constant, axis)
        if name not in self.wiring.makes:
            self.wiring.makes[name] = self.wiring.new(len(layer.weight))
        calls = self.wiring.reads.setdefault(name, [])
        if calls:
            # A layer in several places has one set of columns.
            self._tie(calls[0], given)
        calls.append(given)
        return Flow(self.wiring.makes[name], _made(layer, given), axis)

    def _depthwise(self, name: str, layer: nn.Conv2d, given: Flow) -> Flow:
        self._follow(name, given.ids)
        still = ~used(layer.weight)[:, 0] | (given.constant == 0)
        return Flow(given.ids, torch.where(still, _bias(layer), torch.nan), 1)

    def _norm(self, name: str, norm: nn.Module, given: Flow) -> Flow | None:
        assert isinstance(norm, nn.BatchNorm2d)
        if not norm.track_running_stats:
            return None
        self._follow(name, given.ids)
        constant = norm(given.constant.view(1, -1, 1, 1).to(_bias(norm))).flatten()
        if norm.affine:
            constant = torch.where(norm.weight == 0, norm.bias, constant)
        return Flow(given.ids, constant, 1)

    def _follow(self, name: str, ids: Tensor) -> None:
        if name in self.wiring.follows:
            self.wiring.unite(self.wiring.follows[name], ids)
        self.wiring.follows[name] = ids

    def _combined(self, summed: bool, inputs: list[Flow], node: fx.Node) -> Flow | None:
        """A sum or a product, channel by channel, of two values or with a number."""
        if len(node.args) != 2 or node.kwargs:
            return None
        if len(inputs) == 1:
            alone, arguments = inputs[0], node.args
            a, b = (alone.constant if isinstance(arg, fx.Node) else arg for arg in arguments)
            if not isinstance(a, int | float | Tensor) or not isinstance(b, int | float | Tensor):
                return None
            return Flow(alone.ids, torch.as_tensor(a + b if summed else a * b), alone.axis)
        one, other = inputs
        if len(one.ids) != len(other.ids) or one.axis != other.axis:
            return None
        self.wiring.unite(one.ids, other.ids)
        if summed:
            return Flow(one.ids, one.constant + other.constant, one.axis)
        none = (one.constant == 0) | (other.constant == 0)
        return Flow(one.ids, torch.where(none, 0.0, one.constant * other.constant), one.axis)

    def _joined(self, inputs: list[Flow]) -> Flow | None:
        if any(flow.axis != 1 for flow in inputs):
            return None
        ids = torch.cat([flow.ids for flow in inputs])
        return Flow(ids, torch.cat([flow.constant for flow in inputs]), 1)

    def _tie(self, one: Flow | None, other: Flow | None) -> None:
        if one and other and len(one.ids) == len(other.ids):
            self.wiring.unite(one.ids, other.ids)
            return
        self._keep(one, other)

    def _unknown(self, node: fx.Node) -> Flow | None:
        """What an operation gives of which nothing is known: None. It may read all of its input."""
        self._keep(*(self.flows[each] for each in node.all_input_nodes))
        return None

    def _keep(self, *flows: Flow | None) -> None:
        for flow in flows:
            self.wiring.kept.update(flow.ids.tolist() if flow else [])


def _made(layer: Layer, given: Flow | None) -> Tensor:
    """What a layer's rows are, where no weight of theirs meets anything but zeros."""
    reached = used(layer.weight)
    if given:
        reached = reached & (given.constant != 0)
    return torch.where(reached.any(1), torch.nan, _bias(layer))


def _bias(layer: nn.Module) -> Tensor:
    bias, weight = layer.bias, layer.weight
    if isinstance(bias, Tensor):
        return bias
    like = weight if isinstance(weight, Tensor) else layer.running_mean
    assert isinstance(like, Tensor)
    return like.new_zeros(len(like))


def _applied(function: Any, constant: Tensor, node: fx.Node) -> Tensor:
    """An elementwise operation on channels' constants; what varies (NaN) stays so."""
    if isinstance(function, str):
        function = getattr(Tensor, function)
    further = () if node.op == "call_module" else node.args[1:]
    applied: Tensor = function(constant.clone(), *further, **node.kwargs)
    return applied


def _from_1(module: nn.Module | None, node: fx.Node) -> bool:
    """Does a flattening leave the batch alone, and take all the rest?"""
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    return (node.args[1:] == (1,) and not node.kwargs) or node.kwargs == {"start_dim": 1}
