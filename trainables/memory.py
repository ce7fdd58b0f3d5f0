"""How a process that trains asks the system for memory. Changes no result."""

import ctypes
import os
import sys

# mallopt(3)'s M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD and M_ARENA_MAX: large blocks come from the
# heap like small ones, and the heap is not given back.
_KEEPING = {-4: 0, -1: 2**31 - 1, -2: 64 * 2**20, -8: 1}
_USERS_OWN = tuple(
    f"MALLOC_{name}"
    for name in ("ARENA_MAX", "MMAP_MAX_", "MMAP_THRESHOLD_", "TRIM_THRESHOLD_", "TOP_PAD_")
)


def keep_freed() -> bool:
    """Freed memory is used again instead of given back; does this process do so now?

    glibc returns every large tensor to the system, which maps and zeroes the next one page by page:
    a sixth of a training step on a CPU. A process then holds what it once needed until it ends.
    Nothing is done without glibc, or where mallopt(3)'s variables say what the user wants.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _USERS_OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(option, value) == 1 for option, value in _KEEPING.items()])
