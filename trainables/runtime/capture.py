"""Captured steps: an execution setting, recorded with results, never part of a key.

On CUDA a step is hundreds of kernels that the processor launches one by one; a graph of them is
launched at once. What is captured works on tensors that stay in place.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch.backends import cudnn

from search_spaces.errors import InputError
from trainables.runtime.memory import ran_out

VARIABLE = "DOUBLE_WIN_CAPTURE"
Capture = Literal["auto", "calls", "off"]

EAGER, GRAPH = "eager", "graph"
"""How steps are executed. Where a graph is wanted and cannot be had: EAGER, a colon, the reason."""

_WARM_UPS = 2


def capture() -> Capture:
    """What DOUBLE_WIN_CAPTURE asks for: auto (the default: on CUDA, steps are captured), calls
    (everywhere, steps that could be captured are called again instead), or off. Raises InputError
    for anything else."""
    text = os.environ.get(VARIABLE, "auto")
    match text:
        case "auto" | "calls" | "off":
            return text
    raise InputError(f"{VARIABLE}={text}: takes auto, calls or off")


def in_place(device: torch.device) -> bool:
    """Do steps on `device` work on tensors that stay in place?"""
    wanted = capture()
    return wanted == "calls" or (wanted == "auto" and device.type == "cuda")


def recorded(
    step: Callable[[], None], device: torch.device, rng: torch.Generator
) -> tuple[Callable[[], None], str]:
    """(what does the same as calling `step`, how it is executed).

    step: works on tensors that stay in place and draws from `rng` alone. On CUDA it is called a few
    times to make a graph: what that changes is the caller's to put back. A step that cannot be
    captured, since it waits for the device, is returned itself, as it is on other devices.
    """
    if device.type != "cuda" or capture() == "calls":
        return step, EAGER
    own = torch.cuda.current_stream(device)
    aside, pool = _beside(device, own.cuda_stream)
    aside.wait_stream(own)
    try:
        with _fastest_kernels():
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UPS):
                    with _waiting_refused():
                        step()
            own.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(rng)
            # Other threads may use the device meanwhile.
            mode = "thread_local"
            with torch.cuda.graph(graph, pool=pool.pool(), stream=aside, capture_error_mode=mode):
                step()
    except RuntimeError as error:
        if ran_out(error):
            raise
        reason = _first_line(error)
    else:
        return graph.replay, GRAPH
    _recover(device, rng)
    return step, f"{EAGER}: {reason}"


@contextmanager
def _fastest_kernels() -> Iterator[None]:
    """cuDNN tries its kernels on the shapes at hand; a graph keeps the fastest."""
    before = cudnn.benchmark
    cudnn.benchmark = not cudnn.deterministic
    try:
        yield
    finally:
        cudnn.benchmark = before


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Waiting for the device raises RuntimeError: it would spoil a capture."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@cache
def _beside(device: torch.device, stream: int) -> tuple[Any, Any]:
    """(the stream on which all is captured that runs in `stream`, a graph that keeps its memory).

    They share memory and the libraries' scratch space: one graph runs at a time, and leaves nothing
    there that another needs."""
    aside, memory = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    number = torch.zeros((), device=device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.graph(memory, stream=aside):
        number.add_(1)
    return aside, memory


def _first_line(error: BaseException) -> str:
    """What an error says; of one that followed from another, the other."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).strip().partition("\n")[0]


def _recover(device: torch.device, rng: torch.Generator) -> None:
    """A capture that failed leaves generators waiting for its end: one that succeeds ends it."""
    torch.cuda.synchronize(device)
    number = torch.zeros((), device=device)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(rng)
    with torch.cuda.graph(graph):
        number.add_(1)
