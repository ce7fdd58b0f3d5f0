"""When jobs end that run side by side: pure functions of their durations."""

import heapq
from collections import deque
from collections.abc import Iterable


def makespan(durations: Iterable[float], slots: int) -> float:
    """When the last job ends if each, in the order given, takes the slot that is free first."""
    free = [0.0] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def shared_makespan(durations: Iterable[float], side_by_side: int, cores: float) -> float:
    """When the last job ends if up to `side_by_side` run at once, in the order given, and share
    `cores` evenly where they are more than these."""
    waiting, running, now = deque(durations), list[float](), 0.0
    while waiting or running:
        while waiting and len(running) < side_by_side:
            running.append(waiting.popleft())
        first = min(running)
        now += first * max(1.0, len(running) / cores)
        running = [left - first for left in running if left > first]
    return now
