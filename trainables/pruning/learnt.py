"""Scores that are trained while the weights stay as they are (HYDRA; Sehwag et al. 2020)."""

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from search_spaces.prunings import Scope
from trainables.models.anatomy import Anatomy
from trainables.pruning.allotment import allotted
from trainables.pruning.masks import Scores, ones


class Scored(nn.Module):
    """A network of frozen weights of which the `count` with the largest scores are there, over all
    layers or in each as the scope says; what is trained are the scores.

    The gradient reaches a score as if its weight were multiplied by the score's size instead of by
    0 or 1 (straight through). Scores begin at w sqrt(6 / fan-in) / max |w| of each layer, so that
    the largest weights are there at first (equation 4).
    """

    def __init__(self, net: nn.Module, count: int, scope: Scope) -> None:
        super().__init__()
        self.net = net.requires_grad_(False)
        dense = ones(net)
        self._names = list(dense)
        weights = dict(net.named_parameters())
        self.scores = nn.ParameterList(_first(weights[name]) for name in self._names)
        shapes = {name: tuple(mask.shape) for name, mask in dense.items()}
        sizes = {name: mask.numel() for name, mask in dense.items()}
        each = {} if scope == "global" else allotted(shapes, sizes, count, scope)
        self._counts = [count] if scope == "global" else [each[name] for name in self._names]
        # Nothing of it is pruned in training: its scores decide what would be.
        self.anatomy = Anatomy((), ())

    def forward(self, x: Tensor) -> Tensor:
        sizes = [score.abs() for score in self.scores]
        if len(self._counts) == 1:
            shared = _threshold(torch.cat([size.flatten() for size in sizes]), self._counts[0])
            least = [shared] * len(sizes)
        else:
            least = [_threshold(s.flatten(), c) for s, c in zip(sizes, self._counts, strict=True)]
        weights = dict(self.net.named_parameters())
        there = {
            name: weights[name] * ((size > bound).to(size.dtype) + (size - size.detach()))
            for name, size, bound in zip(self._names, sizes, least, strict=True)
        }
        logits: Tensor = functional_call(self.net, there, (x,))
        return logits

    @property
    def sizes(self) -> Scores:
        """What decides which weights are kept, by the names of the network's parameters."""
        pairs = zip(self._names, self.scores, strict=True)
        return {name: score.detach().abs() for name, score in pairs}


def _first(weight: Tensor) -> nn.Parameter:
    fan_in = weight[0].numel()
    largest = weight.detach().abs().max().clamp(min=1e-12)
    return nn.Parameter(weight.detach() / largest * math.sqrt(6 / fan_in))


def _threshold(sizes: Tensor, count: int) -> Tensor:
    """What exactly `count` of the sizes exceed, where no two are equal."""
    if count >= len(sizes):
        return sizes.new_tensor(-1.0)
    return sizes.detach().kthvalue(len(sizes) - count).values
