"""The processes of a data-parallel training: they decide alike, as the first of them does."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Which part of every batch this process trains on: all, or one rank's of several."""

    rank: int = 0
    world: int = 1


def from_first(value: T) -> T:
    """The first rank's value, on every rank of the default process group; a process by itself has
    its own. For what decides how a training goes on: floating-point sums may differ between ranks,
    and ranks that go on differently train different networks from there."""
    if not several():
        return value
    shared = [value]
    dist.broadcast_object_list(shared, 0)
    return shared[0]


def any_of(flag: Tensor) -> bool:
    """Is a bool tensor without dimensions true on any rank?"""
    if several():
        flag = flag.to(torch.uint8)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def share_buffers(net: nn.Module) -> None:
    """BatchNorm's running statistics differ between ranks after a step; all take the first's."""
    if several():
        for buffer in net.buffers():
            dist.broadcast(buffer, 0)


def several() -> bool:
    """Is this one of several processes that train together?"""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
