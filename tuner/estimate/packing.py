"""How many transfers share a GPU: from steps timed side by side, once for each kind of step on this
machine, and kept with its prices."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from trainables.estimate.steps import Step, steps, training
from tuner.cluster.capacity import Capacity
from tuner.estimate import prices
from tuner.scheduling.worklist import Worklist

CROWDS = (1, 2, 4, 8)
"""So many transfers on a GPU are tried."""
# What a larger crowd gains must be worth its memory.
_ENOUGH = 0.95


def packed(capacity: Capacity, work: Worklist, say: Callable[[str], None]) -> Capacity:
    """The capacity with as many transfers on each GPU as get most out of it. Raises InputError
    where the data to count are not there."""
    where, step = prices.machine(capacity), heaviest(work)
    if not where.gpus or step is None:
        return capacity

    def seconds(copies: int) -> float | None:
        there = replace(where, copies=copies)
        known = prices.known([step], there) or prices.timed([step], there)
        return known[step].seconds if step in known else None

    copies = best_crowd(seconds)
    say(f"{copies} transfers side by side on each GPU get most out of it, as timed here")
    # Rounded down, for the sum of all to stay below one.
    return replace(capacity, trial_gpus=int(100 / copies) / 100)


def best_crowd(seconds: Callable[[int], float | None]) -> int:
    """The smallest crowd that does nearly as many steps a second as any. seconds: of a step, with
    so many trainings at work; None where that many do not fit."""
    rates: dict[int, float] = {}
    for copies in CROWDS:
        each = seconds(copies)
        if each is None:
            break
        rates[copies] = copies / each
    most = max(rates.values(), default=0.0)
    return min((n for n, rate in rates.items() if rate >= _ENOUGH * most), default=1)


def heaviest(work: Worklist) -> Step | None:
    """The kind of training step on which a study's transfers spend most, by passes over images;
    None if there are no transfers."""
    effort: Counter[Step] = Counter()
    kinds = Counter(training(cell.transfer) for cell in work.wanted.values())
    for kind, times in kinds.items():
        for step, count in steps(kind).items() if kind else ():
            if step.regime:
                effort[step] += round(times * count * step.images * step.regime.passes)
    return max(effort, key=effort.__getitem__, default=None)
