"""Running out of memory: what it looks like, and the one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

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
REMEDY = "set the recipe's micro_batch below its batch_size, or train fewer side by side"
"""For a process that was killed for lack of memory, wherever it was."""


class OutOfMemoryError(MemoryError):
    """Memory ran out, and this is the field that asks for less. Raised by `naming`."""


def named_in(text: str) -> bool:
    """Does an error's text say that memory ran out?"""
    return any(words in text for words in _COMPLAINTS)


def ran_out(error: BaseException) -> bool:
    """Has memory run out: a GPU's, the CPU's, or Python's own?"""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and named_in(str(error))


@contextmanager
def naming(images: int, doing: str, field: str) -> Iterator[None]:
    """Lack of memory inside becomes an OutOfMemoryError of one line: what took how many images at
    once, and the field of the study that makes them fewer. Other errors pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, OutOfMemoryError) or not ran_out(error):
            raise
        remedy = f"set {field} below that" if images > 1 else "this network does not fit"
        raise OutOfMemoryError(
            f"out of memory: {doing} with {images} images at once: {remedy}"
        ) from error
