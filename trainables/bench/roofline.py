"""The least that the arithmetic of a training step or a results takes on a machine.

Operations are counted in the textbook program: PGD that forms no parameter gradient, then one
forward and one full backward pass. The machine's rate is that of its own matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trainables.training.attacks import frozen, gradient

SIDES = {"cpu": 1024, "cuda": 8192}
"""Sides of the square matrices whose product is timed: large enough for the best rate."""


def ascend(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """One step of an attack: what it takes to know the images' gradients."""
    with frozen(net):
        gradient(net, x, y)


def step(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """A training step (without the optimiser's part), the attack apart."""
    F.cross_entropy(net(x), y).backward()


def evaluated(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """Evaluation images clean and once they are attacked."""
    with torch.no_grad():
        net(x)
        net(x)


@dataclass(frozen=True)
class Counted:
    """Multiplications and additions of a program's convolutions and matrix products; the bytes
    that all its operations read and write, each by itself: what fusing them would save."""

    operations: int
    bytes: int


class _Counter(TorchDispatchMode):
    """Sees every operation that a program carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.bytes = 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula:
            self.operations += formula(*args, **kwargs, out_val=result)
        if not func.is_view:
            tensors = [*_tensors(args), *_tensors(result)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def counted(program: Callable[[], None]) -> Counted:
    """What a program consists of; with tensors on the meta device nothing is computed for it."""
    with _Counter() as counter:
        program()
    return Counted(counter.operations, counter.bytes)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return []


def product(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """(a matrix product, its multiplications and additions). On CUDA, float32 goes through TF32, as
    convolutions do by default."""
    side = SIDES[device.type]
    # Random: zeros and ones take less power, and some GPUs are then faster.
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)

    def multiply() -> None:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
        torch.mm(a, b, out=out)
        torch.set_float32_matmul_precision(before)

    return multiply, 2.0 * side**3


def copying(device: torch.device) -> tuple[Callable[[], object], float]:
    """(a copy on the device, the bytes that it reads and writes)."""
    source = torch.ones(64 * 2**20, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2.0 * source.nbytes
