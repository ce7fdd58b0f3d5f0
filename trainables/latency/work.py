"""What a network's answer consists of: multiplications, and memory at its fullest."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.bench.roofline import counted


def macs(net: nn.Module, images: Tensor) -> tuple[int, int]:
    """(multiply-adds of one image's answer, those of them with a weight that is not zero).

    Of convolutions and matrix products; what attention multiplies without a layer of its own counts
    as not zero.
    """
    zeros = 0

    def add(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal zeros
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        # Every weight of a row is multiplied once at each place of the row's output.
        places = output.numel() // len(layer.weight)
        zeros += places * int((layer.weight == 0).sum())

    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.no_grad():
            total = counted(lambda: net(images)).operations // 2
    finally:
        for hook in hooks:
            hook.remove()
    return total // len(images), (total - zeros) // len(images)


def peak_memory(run: Callable[[], object], held: int, device: torch.device) -> int:
    """Bytes of tensors at the fullest moment of a run, `held` among them, which are there before
    it: as torch allocates them, without its own workspaces on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return held + torch.cuda.max_memory_allocated(device) - before
    with _Watcher() as watcher:
        run()
    return held + watcher.most


class _Watcher(TorchDispatchMode):
    """Sees the storages that operations make, until they are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = {_place(tensor) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            place = _place(tensor)
            if place not in known and place not in self.seen:
                size = tensor.untyped_storage().nbytes()
                self.seen.add(place)
                self.now += size
                weakref.finalize(tensor.untyped_storage(), self._gone, place, size)
        self.most = max(self.most, self.now)
        return result

    def _gone(self, place: int, size: int) -> None:
        self.seen.discard(place)
        self.now -= size


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [] if value.layout != torch.strided else [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [tensor for part in value for tensor in _tensors(part)]
