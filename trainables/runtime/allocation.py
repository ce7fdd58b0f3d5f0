"""How a process that trains asks the system for memory. Changes no result."""

import ctypes
import os
import sys

# mallopt(3)'s M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD: large blocks come from the heap like
# small ones, and the heap is not given back.
_KEEPING = {-4: 0, -1: 2**31 - 1, -2: 64 * 2**20}
_USERS_OWN = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
"""For processes that train in threads, as Ray's do: a thread's own heap takes no block of 64 MB."""


def keep_freed() -> bool:
    """Freed memory is used again instead of given back; does this process do so now?

    glibc returns every large tensor to the system, which maps and zeroes the next one page by page:
    a sixth of a training step on a CPU. A process then holds what it once needed until it ends.
    Nothing is done without glibc, or where its MALLOC_* variables say what the user wants.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _USERS_OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(option, value) == 1 for option, value in _KEEPING.items()])
