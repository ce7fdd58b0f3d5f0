"""Layers that multiply by sparse matrices: compressed rows anywhere, 2:4 on GPUs that have it."""

import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from trainables.models.resnets import Strided1x1

EXTREME = 0.9
"""Of layers with fewer zeros a dense product is faster by far."""
_AMPERE = (8, 0)
_ROWS, _COLUMNS = 32, 64
"""A 2:4 matrix in half precision has multiples of so many."""

Matrix = nn.Linear | nn.Conv2d


class SparseProduct(nn.Module):
    """A linear layer, or a convolution of single pixels, by a product with a sparse matrix (out,
    in); `stride` > 1 leaves pixels out."""

    def __init__(self, layer: Matrix, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.bias = layer.bias
        self.stride = layer.stride if isinstance(layer, nn.Conv2d) else None

    def forward(self, x: Tensor) -> Tensor:
        if self.stride is None:
            return self._product(x)
        down, right = self.stride
        pixels = x[:, :, ::down, ::right].permute(0, 2, 3, 1)
        return self._product(pixels).permute(0, 3, 1, 2)

    def _product(self, x: Tensor) -> Tensor:
        out = (self.get_buffer("weight") @ x.reshape(-1, x.shape[-1]).T).T
        out = out if self.bias is None else out + self.bias
        return out.reshape(*x.shape[:-1], out.shape[-1])


def compressed(net: nn.Module, extreme: float = EXTREME) -> tuple[nn.Module, list[str]]:
    """(a copy whose linear layers and convolutions of single pixels with a share of at least
    `extreme` zeros are stored in compressed rows, CSR; their names)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return _replaced(net, lambda layer: _matrix(layer).to_sparse_csr(), extreme)


def semi_structured(net: nn.Module) -> tuple[nn.Module, list[str]]:
    """(a copy in half precision whose linear layers and convolutions of single pixels are 2:4
    matrices, where their zeros and their shapes allow it; their names). See `refusal`."""
    from torch.sparse import to_sparse_semi_structured

    half = deepcopy(net).half()
    return _replaced(half, lambda layer: to_sparse_semi_structured(_matrix(layer)), 0.5, in_2_of_4)


def refusal(device: torch.device) -> str | None:
    """Why a device cannot multiply 2:4 matrices; None if it can."""
    if device.type != "cuda":
        return f"needs a GPU of compute capability 8.0 or more: this is {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < _AMPERE:
        major, minor = capability
        return f"needs a GPU of compute capability 8.0 or more: this has {major}.{minor}"
    return None


def in_2_of_4(layer: Matrix) -> bool:
    """Has each of four consecutive inputs of an output at most two weights, in a matrix of a shape
    that the kernels take?"""
    matrix = _matrix(layer)
    if matrix.shape[0] % _ROWS or matrix.shape[1] % _COLUMNS:
        return False
    groups = (matrix != 0).reshape(matrix.shape[0], -1, 4)
    return bool((groups.sum(2) <= 2).all())


def _replaced(
    net: nn.Module,
    stored: Callable[[Matrix], Tensor],
    zeros: float,
    fits: Callable[[Matrix], bool] = lambda layer: True,
) -> tuple[nn.Module, list[str]]:
    copy, names = deepcopy(net), []
    for name, layer in list(_products(copy)):
        if (layer.weight == 0).double().mean() >= zeros and fits(layer):
            holder, _, last = name.rpartition(".")
            with torch.no_grad():
                product = SparseProduct(layer, stored(layer))
            setattr(copy.get_submodule(holder), last, product)
            names.append(name)
    return copy, names


def _products(net: nn.Module) -> Iterator[tuple[str, Matrix]]:
    """The layers that are a product with one matrix."""
    for name, layer in net.named_modules():
        if type(layer) is nn.Linear:
            yield name, layer
        elif type(layer) in (nn.Conv2d, Strided1x1):
            single = layer.kernel_size == (1, 1) and layer.padding in ((0, 0), "valid")
            if single and layer.groups == 1:
                yield name, layer


def _matrix(layer: Matrix) -> Tensor:
    """A layer's weights (out, in)."""
    return layer.weight.detach().flatten(1).contiguous()
