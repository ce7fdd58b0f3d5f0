"""What running out of memory looks like."""

import torch

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


def free() -> None:
    """Gives back what torch holds of a GPU's memory for later use."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
