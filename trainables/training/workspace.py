"""Networks in place, shared by all trainings and evaluations of such networks in a process.

Weights are copied in and out, so what is recorded over them (a CUDA graph) is recorded once.
"""

import copy
import io
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from trainables.runtime.capture import recorded
from trainables.runtime.seeding import untouched

# Those used last are kept.
_WORKSPACES, _RECORDINGS = 6, 12


@dataclass(frozen=True)
class Recording:
    """Something done again and again: `replay` does it to images x (N, C, H, W) and labels y (N,),
    which the caller fills. execution: how it is done."""

    x: Tensor
    y: Tensor
    replay: Callable[[], None]
    execution: str


class Workspace:
    """A network in place, and the generator that all that is recorded over it draws from.

    Who works here holds the lock from loading weights until the results are taken out; in between
    it holds nothing of anybody's.
    """

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self.net = copy.deepcopy(net)
        self.device = device
        self.rng = torch.Generator(self.device)
        self.lock = threading.RLock()
        self._recordings: OrderedDict[Hashable, Recording] = OrderedDict()

    @property
    def state(self) -> list[Tensor]:
        """The tensors that what is recorded here may change."""
        return tensors(self.net)

    def load(self, net: nn.Module) -> None:
        """Takes over the weights and statistics of a network of this structure."""
        copy_all(tensors(self.net), tensors(net))

    def recording(
        self, key: Hashable, x: Tensor, make: Callable[[], Callable[[Tensor, Tensor], None]]
    ) -> Recording:
        """What is recorded under a key and for images of x's shape; at first, the step that `make`
        returns, on images and labels. Recording changes neither `state` nor the generator."""
        key = (key, x.shape, x.stride())
        if key not in self._recordings:
            images = torch.zeros_like(x)
            labels = torch.zeros(len(x), dtype=torch.int64, device=self.device)
            before, drawn = [t.detach().clone() for t in self.state], self.rng.get_state()
            with untouched(self.device):
                done = recorded(partial(make(), images, labels), self.device, self.rng)
            copy_all(self.state, before)
            self.rng.set_state(drawn)
            self.net.zero_grad(set_to_none=True)
            self._recordings[key] = Recording(images, labels, *done)
            if len(self._recordings) > _RECORDINGS:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(key)
        return self._recordings[key]


W = TypeVar("W", bound=Workspace)
KEPT: OrderedDict[Hashable, Any] = OrderedDict()
"""This process's workspaces by what they serve, the latest used last."""
_lock = threading.Lock()


def workspace_for(
    net: nn.Module,
    device: torch.device,
    make: Callable[[nn.Module, torch.device], W],
    *settings: str,
) -> W | None:
    """The workspace that `make` makes of networks like this one, under these settings, on their
    device and in this thread's stream. None for a network that `structure` cannot tell from others.
    """
    known = structure(net)
    if known is None:
        return None
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    key = (make, known, device, stream, *settings)
    with _lock:
        if key not in KEPT:
            KEPT[key] = make(net, device)
            if len(KEPT) > _WORKSPACES:
                KEPT.popitem(last=False)
        KEPT.move_to_end(key)
        return KEPT[key]


def tensors(net: nn.Module) -> list[Tensor]:
    """A network's parameters and buffers, those too that are no part of its state."""
    return [*net.parameters(), *net.buffers()]


def copy_all(into: Sequence[Tensor], out_of: Sequence[Tensor]) -> None:
    """Copies tensors into as many others, in order; waits for nothing."""
    if into:
        with torch.no_grad():
            torch._foreach_copy_(list(into), list(out_of))


def structure(net: nn.Module) -> bytes | None:
    """What a network is apart from the numbers in its parameters and buffers, as bytes; None if it
    holds something that cannot be pickled."""
    file = io.BytesIO()
    with suppress(pickle.PicklingError, AttributeError, TypeError):
        _StructurePickler(file, tensors(net)).dump(net)
        return file.getvalue()
    return None


class _StructurePickler(pickle.Pickler):
    """In place of a network's own tensors, writes which they are and what they look like."""

    def __init__(self, file: io.BytesIO, own: Sequence[Tensor]) -> None:
        super().__init__(file)
        self.own = {id(tensor): place for place, tensor in enumerate(own)}

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or id(value) not in self.own:
            return None
        looks = tuple(value.shape), value.stride(), value.dtype, value.requires_grad
        return self.own[id(value)], *looks
