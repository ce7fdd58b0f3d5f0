"""Running out of memory: what it looks like, and taking a batch in parts until it fits."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

# How torch's allocators, CUDA's libraries and Ray's watch over a machine's memory say it.
_COMPLAINTS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "low on memory",
    "_ALLOC_FAILED",
    "OutOfMemoryError",
    "MemoryError",
)


def named_in(text: str) -> bool:
    """Does an error's text say that memory ran out?"""
    return any(words in text for words in _COMPLAINTS)


def ran_out(error: BaseException) -> bool:
    """Has memory run out: a GPU's, the CPU's, or Python's own?"""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and named_in(str(error))


def in_parts(
    work: Callable[[int], T], images: int, parts: int = 1, again: Callable[[], None] = lambda: None
) -> tuple[T, int]:
    """(what `work`, given a number of parts, returns of a batch of `images`, that number): from
    `parts` on doubled until it fits, with a call of `again` before each new try. Raises what `work`
    raises; lack of memory, where single images do not fit either."""
    while True:
        try:
            return work(parts), parts
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or parts >= images:
                raise
        # Out here: the error keeps the failed try's tensors alive.
        parts *= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        again()
