"""Compiled training: an execution setting, recorded with results, never part of a key.

Evaluation is never compiled: its network is another one every time, with BatchNorm fused.
"""

import os
from typing import Literal

from torch import nn

from search_spaces.errors import InputError

VARIABLE = "DOUBLE_WIN_COMPILE"
Compilation = Literal["off", "default", "reduce-overhead"]


def compilation() -> Compilation:
    """What DOUBLE_WIN_COMPILE asks for: off (the default), or a mode of torch.compile: default
    (operations are fused) or reduce-overhead (on a GPU, CUDA graphs besides). Raises InputError for
    anything else."""
    text = os.environ.get(VARIABLE, "off")
    match text:
        case "off" | "default" | "reduce-overhead":
            return text
    raise InputError(f"{VARIABLE}={text}: takes off, default or reduce-overhead")


def compile_(net: nn.Module) -> None:
    """Has `net` compiled, in place, if DOUBLE_WIN_COMPILE asks for it.

    Its first passes take up to a minute longer; what it computes is the same up to rounding.
    """
    mode = compilation()
    if mode != "off":
        net.compile(mode=mode)
