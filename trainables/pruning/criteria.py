"""Criteria: what a network's weights are scored by. The highest scores are kept.

A criterion is a function (network, data, rng) -> scores by parameter name. The network holds the
weights that are scored, pruned ones zero, and is in eval mode, as theta is transferred: no running
statistics move. data: batches (x (N, C, H, W) in [0, 1], y (N,)) on the network's device. rng: a
generator on the CPU. The network's parameters are left as they were, their gradients empty.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.pruning.masks import Scores, draws, magnitudes, ones
from trainables.runtime.differentiation import twice_differentiable

Batches = Sequence[tuple[Tensor, Tensor]]
Criterion = Callable[[nn.Module, Batches, torch.Generator], Scores]

SYNFLOW_ROUNDS = 100
_TEMPERATURE = 200.0


def magnitude(network: nn.Module, data: Batches, rng: torch.Generator) -> Scores:
    """|w|."""
    return magnitudes(dict(network.named_parameters()), ones(network))


def random(network: nn.Module, data: Batches, rng: torch.Generator) -> Scores:
    """A random order of all that can be pruned."""
    return draws(ones(network), rng)


def snip(network: nn.Module, data: Batches, rng: torch.Generator) -> Scores:
    """|w dL/dw|: how much the loss changes, to first order, with what a weight is multiplied by
    (Lee et al. 2019, equation 5, whose norm over all weights changes no order). L: the mean
    cross-entropy."""
    weights = dict(network.named_parameters())
    slopes = _slopes(network, data)
    return {name: (weights[name].detach() * slopes[name]).abs() for name in weights}


def grasp(network: nn.Module, data: Batches, rng: torch.Generator) -> Scores:
    """w Hg, with g the mean loss's gradient and H its Hessian: by how much, to first order, half
    the gradient's squared norm falls when a weight is removed; a weight whose removal lets it grow
    is pruned first (Wang et al. 2020, equation 8, whose score has the other sign). Logits are
    divided by 200 before the loss, as in the authors' code."""
    weights = dict(network.named_parameters())
    still = {name: slope.detach() for name, slope in _slopes(network, data, _TEMPERATURE).items()}
    turned = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for x, y in data:
        share = len(y) / sum(len(labels) for _, labels in data)
        with twice_differentiable():
            loss = share * F.cross_entropy(network(x) / _TEMPERATURE, y)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        products = zip(weights, slopes, strict=True)
        along = torch.stack([(slope * still[name]).sum() for name, slope in products]).sum()
        seconds = torch.autograd.grad(along, list(weights.values()), allow_unused=True)
        for name, second in zip(weights, seconds, strict=True):
            if second is not None:
                turned[name] += second
    return {name: weights[name].detach() * turned[name] for name in weights}


def synflow(network: nn.Module, data: Batches, rng: torch.Generator) -> Scores:
    """|w| dR/d|w|, with R what a white image adds up to at the outputs of the network with the
    size of each weight in its place (Tanaka et al. 2020, equation 2): the sum over all paths
    through a weight of the products of their weights. Of `data`, only the images' shape is used.
    """
    x, _ = data[0]
    return flow(network, x.shape[1:])[0]


def flow(network: nn.Module, shape: Sequence[int]) -> tuple[Scores, Tensor]:
    """(SynFlow's scores, dR/dx) of images of a shape (C, H, W), in float64.

    The network becomes linear: sizes instead of weights, no biases, BatchNorm without its shift.
    """
    positive = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for name, parameter in positive.named_parameters():
            parameter.zero_() if name.endswith("bias") else parameter.abs_()
        for name, buffer in positive.named_buffers():
            if name.endswith("running_mean"):
                buffer.zero_()
    positive.requires_grad_(True)
    x = torch.ones(1, *shape, dtype=torch.float64, device=next(positive.parameters()).device)
    x.requires_grad_(True)
    weights = dict(positive.named_parameters())
    slopes = torch.autograd.grad(positive(x).sum(), [x, *weights.values()], allow_unused=True)
    scores = {
        name: torch.zeros_like(weight) if slope is None else weight.detach() * slope
        for (name, weight), slope in zip(weights.items(), slopes[1:], strict=True)
    }
    return scores, slopes[0]


def _slopes(network: nn.Module, data: Batches, temperature: float = 1.0) -> dict[str, Tensor]:
    """The gradient of the mean cross-entropy over all batches, by parameter."""
    weights = dict(network.named_parameters())
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    images = sum(len(y) for _, y in data)
    for x, y in data:
        loss = F.cross_entropy(network(x) / temperature, y, reduction="sum") / images
        for name, slope in zip(
            weights, torch.autograd.grad(loss, list(weights.values())), strict=True
        ):
            total[name] += slope
    return total


CRITERIA: dict[str, Criterion] = {
    "one_shot": magnitude,
    "random": random,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
}


def rounds(method: str) -> int:
    """In how many rounds a method prunes at once, each scoring what the one before has left."""
    return SYNFLOW_ROUNDS if method == "synflow" else 1
