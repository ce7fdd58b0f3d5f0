"""The arithmetic of training: an execution setting, recorded with results, never part of a key.

Evaluation always computes in float32; on CUDA, as PyTorch's default is, with convolutions in TF32.
"""

import os
from typing import Literal

import torch
from torch import Tensor

from search_spaces.errors import InputError

VARIABLE = "DOUBLE_WIN_PRECISION"
Precision = Literal["float32", "bf16"]


def precision() -> Precision:
    """What DOUBLE_WIN_PRECISION asks for: float32 (the default), or bf16, with which attacks and
    forward passes of training compute in bfloat16 where that is safe (weights, BatchNorm's
    statistics and the optimiser stay float32). Raises InputError for anything else."""
    text = os.environ.get(VARIABLE, "float32")
    match text:
        case "float32" | "bf16":
            return text
    raise InputError(f"{VARIABLE}={text}: takes float32 or bf16")


def full_precision(logits: Tensor) -> Tensor:
    """Logits fit for a loss: what was computed in bfloat16 goes on in float32."""
    return logits.float() if logits.dtype == torch.bfloat16 else logits


def autocast(device: torch.device) -> torch.autocast:
    """Inside, operations compute as DOUBLE_WIN_PRECISION says."""
    enabled = precision() == "bf16"
    # A graph could not keep weights that were cast outside of it; inside, nothing is cast twice.
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)
