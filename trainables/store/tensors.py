"""Weights and masks to and from bytes, by safetensors: nothing in such a file can run."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors as the content of a safetensors file."""
    return save({name: value.cpu().contiguous() for name, value in tensors.items()})


def read(path: Path) -> dict[str, Tensor]:
    """Named tensors from a safetensors file, on the CPU."""
    return load_file(path)


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays as the content of a compressed npz file, for readers without torch."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
