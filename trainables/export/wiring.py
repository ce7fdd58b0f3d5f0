"""The channels of a network as values: which layers make and read them, and what they hold."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Flow:
    """The channels of a value. ids (C,): which; constant (C,): what each is at every place of every
    image, NaN where it varies; axis: the dimension of the value that they lie along."""

    ids: Tensor
    constant: Tensor
    axis: int


@dataclass
class Wiring:
    """makes: of each layer, the channels that its rows make; reads: of each, the channels that its
    columns read, once a call (None: unknown); follows: of each norm and depthwise convolution, its
    channels; kept: channels that something unknown reads. Ids are of `same`: all that must stay or
    go together have one."""

    makes: dict[str, Tensor] = field(default_factory=dict)
    reads: dict[str, list[Flow | None]] = field(default_factory=dict)
    follows: dict[str, Tensor] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    same: list[int] = field(default_factory=list)

    def new(self, count: int) -> Tensor:
        """Channels that are not any others'."""
        start = len(self.same)
        self.same += range(start, start + count)
        return torch.arange(start, start + count)

    def root(self, number: int) -> int:
        """What a channel is called, together with all that are one with it."""
        while self.same[number] != number:
            number = self.same[number]
        return number

    def unite(self, ids: Tensor, others: Tensor) -> None:
        """These channels and those, in their order, become one each."""
        for one, other in zip(ids.tolist(), others.tolist(), strict=True):
            self.same[self.root(other)] = self.root(one)

    def roots(self, ids: Tensor) -> Tensor:
        """The names of channels, (C,)."""
        return torch.tensor([self.root(number) for number in ids.tolist()], dtype=torch.long)


def used(weight: Tensor) -> Tensor:
    """(rows, columns) bool: has a weight of a layer, over its kernel, anything but zeros?"""
    return (weight != 0).flatten(2).any(2) if weight.dim() > 2 else weight != 0
