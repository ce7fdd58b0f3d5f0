"""The ways in which a sparse network can answer, each ready to run."""

import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from trainables.export.onnx_file import runner, to_onnx
from trainables.export.removal import without_dead_channels
from trainables.latency import sparse
from trainables.models.folding import folded
from trainables.pruning.masks import Mask
from trainables.runtime.seeding import generator
from trainables.store.tensors import to_bytes

DENSE, AS_IT_IS, REMOVED = "dense", "as it is", "channels removed"
CSR, HALF, SEMI = "csr", "half precision", "2:4, half precision"
ONNX, ONNX_REMOVED = "onnxruntime", "onnxruntime removed"


@dataclass(frozen=True)
class Contender:
    """One way. run: images on its device to logits; file: what it takes on disk (bytes, zipped
    bytes); net: the module behind it, None of ONNX Runtime; about: what is to be known of it."""

    name: str
    run: Callable[[Tensor], Tensor]
    file: tuple[int, int]
    net: nn.Module | None = None
    about: str = ""


@dataclass
class Field:
    """All that take part, and why others do not."""

    contenders: list[Contender] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)


def assembled(
    net: nn.Module, mask: Mask, images: Tensor, device: torch.device, threads: int
) -> Field:
    """Of a network in eval mode on the CPU and its mask. images: a few, on the CPU. Those of torch
    have BatchNorm folded into convolutions, where it can be."""
    field, removal = Field(), without_dead_channels(net)
    left, before = removal.total
    field.contenders += [
        _torch(DENSE, dense(net, mask), device, "the same network, no weight pruned"),
        _torch(AS_IT_IS, net, device, "zeros are multiplied like other numbers: no gain"),
    ]
    if removal.channels:
        about = f"{before - left:,} of {before:,} channels do nothing: the same outputs"
        field.contenders.append(_torch(REMOVED, removal.net, device, about))
    else:
        field.absent[REMOVED] = removal.reason or f"all {before:,} channels do something"
    _add_sparse(field, net, device)
    for name, each in ((ONNX, net), (ONNX_REMOVED, removal.net)):
        if name == ONNX or removal.channels:
            _add_onnx(field, name, each, images, threads)
    return field


def dense(net: nn.Module, mask: Mask) -> nn.Module:
    """The same network with something in place of every pruned weight: as fast, as large and as
    hard to compress as one that was never pruned."""
    copy, rng = deepcopy(net), generator(0, "dense")
    for name, kept in mask.items():
        weight = copy.get_parameter(name).data
        drawn = torch.empty_like(weight).normal_(0, float(weight.std()) or 1.0, generator=rng)
        weight.copy_(torch.where(kept, weight, drawn))
    return copy


def _torch(name: str, net: nn.Module, device: torch.device, about: str) -> Contender:
    ready = deepcopy(folded(net)).to(device)
    return Contender(name, ready, _sizes(to_bytes(net.state_dict())), ready, about)


def _add_sparse(field: Field, net: nn.Module, device: torch.device) -> None:
    ready = deepcopy(folded(net)).to(device)
    by_rows, names = sparse.compressed(ready)
    if names:
        file = field.contenders[1].file  # Rows are compressed once it is read.
        about = f"compressed rows in {_some(names)}"
        field.contenders.append(Contender(CSR, by_rows, file, by_rows, about))
    else:
        share = f"{100 * sparse.EXTREME:.0f} %"
        field.absent[CSR] = f"no linear layer and no 1 x 1 convolution has {share} zeros or more"
    if reason := sparse.refusal(device):
        field.absent[SEMI] = reason
        return
    halved, names = sparse.semi_structured(ready)
    if not names:
        field.absent[SEMI] = "no linear layer and no 1 x 1 convolution of a fitting shape is 2:4"
        return
    half = deepcopy(ready).half()
    file = _sizes(to_bytes(half.state_dict()))
    for name, each, about in (
        (HALF, half, "dense products in half precision, which 2:4 is to be held against"),
        (SEMI, halved, f"sparse tensor cores in {_some(names)}"),
    ):
        field.contenders.append(Contender(name, _halved(each), file, each, about))


def _add_onnx(field: Field, name: str, net: nn.Module, images: Tensor, threads: int) -> None:
    missing = [each for each in ("onnx", "onnxruntime") if find_spec(each) is None]
    if missing:
        field.absent[name] = f"{missing[0]} is not installed: pip install '.[export]'"
        return
    content = to_onnx(net, images)
    about = "on the CPU, whatever the device of the others"
    field.contenders.append(Contender(name, runner(content, threads), _sizes(content), None, about))


def _halved(net: nn.Module) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        return net(images.half()).float()

    return run


def _sizes(content: bytes) -> tuple[int, int]:
    return len(content), len(zlib.compress(content))


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:2])
    return shown if len(names) < 3 else f"{shown} and {len(names) - 2} more layers"
