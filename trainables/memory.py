"""How this program's processes ask the system for memory. Imports nothing; changes no result."""

ALLOCATION = {
    # glibc hands every large tensor back to the system when it is freed, and the next one is mapped
    # and zeroed page by page: a sixth of a training step on a CPU. Kept, memory is used again.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    # Ray runs trainings in threads, whose own arenas would give memory back all the same.
    "MALLOC_ARENA_MAX": "1",
}
"""Environment of processes that train: read by glibc as they start, ignored elsewhere."""
