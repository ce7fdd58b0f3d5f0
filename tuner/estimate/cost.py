"""What a study will cost: wall time and device hours, with a range.

Work (trainables.work) times prices (tuner.prices), corrected by what finished transfers and runs
took (tuner.history), packed as the two stages pack it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median, pstdev

from search_spaces.errors import InputError
from trainables.estimate.work import Step, Steps, TransferKind, transfer_steps
from tuner.cluster.capacity import Capacity
from tuner.estimate.history import History
from tuner.estimate.packing import makespan, shared_makespan
from tuner.estimate.prices import Prices
from tuner.estimate.workload import Workload

# Seconds, seen on 2 cores: imports, Ray and MLflow until the first stage starts, and the verdict;
# a Ray Train fit until its worker trains (it keeps two cores busy); a transfer beyond its own time.
START, FIT_START, BETWEEN = 18.0, 13.0, 0.3
FIT_START_CORES = 2
# A trial's own time beyond its steps: building the network, reading theta and mask, writing.
TRIAL_START = 0.15

IN_PRACTICE = 1.3
"""Time of steps between shuffling, metrics and another trial's steps over that of the same steps
timed alone. Seen on 2 cores: 1.27 at the least."""
UNTRIED = 0.35
"""Relative error of an estimate that nothing finished has confirmed: an assumption."""
TRIED = 0.15
"""Relative error at least: how much runs of the same work differ on a machine of one's own."""


@dataclass(frozen=True)
class Range:
    """Seconds: the middle estimate, and its range by a relative error."""

    middle: float
    error: float

    @property
    def low(self) -> float:
        return self.middle / (1 + self.error)

    @property
    def high(self) -> float:
        return self.middle * (1 + self.error)

    def __add__(self, other: "Range") -> "Range":
        """Both are off in the same direction: nothing cancels."""
        middle = self.middle + other.middle
        if not middle:
            return self
        return Range(middle, (self.high + other.high) / middle - 1)


NOTHING = Range(0.0, 0.0)


@dataclass(frozen=True)
class Estimate:
    """start, source, transfers, wall: seconds; cores, gpus: hours of each; source_model: what the
    source's steps alone take, packed; seconds_a_seed: what one more seed adds to the wall time."""

    start: Range
    source: Range
    transfers: Range
    cores: float
    gpus: float
    source_model: float
    seconds_a_seed: float

    @property
    def wall(self) -> Range:
        return self.start + self.source + self.transfers


@dataclass(frozen=True)
class Basis:
    """What an estimate is made from."""

    prices: Prices
    history: History
    capacity: Capacity

    @cached_property
    def ratios(self) -> list[float]:
        """Measured over modelled time of each kind of transfer that finished."""
        found = []
        for kind, took in self.history.trials.items():
            try:
                expected = _modelled(kind, self.prices)
            except InputError:  # Its data have gone since.
                continue
            if expected:
                found.append(fmean(took) / expected)
        return found


def estimate(work: Workload, basis: Basis) -> Estimate | None:
    """The cost of a study's work; None where a kind of step has no price and no history."""
    trials = {kind: trial(kind, basis) for kind in work.transfers}
    chains = [seconds(chain.steps, basis.prices) for chain in work.chains]
    if any(value is None for value in (*trials.values(), *chains)):
        return None
    known = {kind: value for kind, value in trials.items() if value is not None}
    source, model, chain_seconds = _source([c for c in chains if c is not None], basis)
    transfers, trial_seconds = _transfers(work.transfers, known, basis)
    capacity = basis.capacity
    hours = chain_seconds * capacity.workers / 3600
    cores = 0.0 if capacity.on_gpus else hours
    return Estimate(
        start=_start(work, basis),
        source=source,
        transfers=transfers,
        cores=cores + (0.0 if capacity.trial_gpus else trial_seconds * capacity.trial_cpus / 3600),
        gpus=(hours - cores) + trial_seconds * capacity.trial_gpus / 3600,
        source_model=model,
        seconds_a_seed=trial_seconds / capacity.trials / max(1.0, work.seeds),
    )


def seconds(steps: Steps, prices: Prices) -> float | None:
    """What steps take one after the other; None if the price of one is not known."""
    if any(step not in prices for step in steps):
        return None
    return IN_PRACTICE * math.fsum(count * prices[step].seconds for step, count in steps.items())


def trial(kind: TransferKind, basis: Basis) -> Range | None:
    """Seconds of one transfer: what those of its kind took, else its steps' price, corrected by
    what others took against theirs."""
    took = basis.history.trials.get(kind, [])
    if len(took) >= 2:
        middle = fmean(took)
        return Range(middle, max(TRIED, pstdev(took) / middle))
    model = _modelled(kind, basis.prices)
    if model is None:
        return Range(took[0], UNTRIED) if took else None
    factor, error = corrected(basis.ratios)
    return Range(model * factor, error)


def corrected(ratios: Sequence[float]) -> tuple[float, float]:
    """(factor, relative error) from ratios of measured to modelled time: their median, and how far
    they lie from it; (1, UNTRIED) without any."""
    if not ratios:
        return 1.0, UNTRIED
    factor = median(ratios)
    far = max(max(ratio / factor, factor / ratio) - 1 for ratio in ratios)
    return factor, max(TRIED, far) if len(ratios) > 1 else max(TRIED, UNTRIED / 2)


def _modelled(kind: TransferKind, prices: Prices) -> float | None:
    steps = seconds(transfer_steps(kind), prices)
    return None if steps is None else steps + TRIAL_START


def _start(work: Workload, basis: Basis) -> Range:
    if not work.chains and not work.transfers:
        return NOTHING
    measured = basis.history.typical("rest")
    return Range(START, UNTRIED) if measured is None else Range(measured, TRIED)


def _source(chains: list[float], basis: Basis) -> tuple[Range, float, float]:
    """(wall time, as modelled, device seconds) of the source stage."""
    if not chains:
        return NOTHING, 0.0, 0.0
    capacity = basis.capacity
    side_by_side = capacity.chains(len(chains))
    processes = side_by_side * capacity.workers
    busy = 1.0 if capacity.on_gpus else FIT_START_CORES * processes / capacity.cpus
    start = FIT_START * max(1.0, busy)
    cores = math.inf if capacity.on_gpus else capacity.cpus / capacity.workers
    waves = math.ceil(len(chains) / side_by_side)
    model = waves * start + shared_makespan(sorted(chains, reverse=True), side_by_side, cores)
    factor, error = corrected(basis.history.source_ratios)
    return Range(factor * model, error), model, factor * (sum(chains) + FIT_START * len(chains))


def _transfers(
    counts: Counter[TransferKind], trials: dict[TransferKind, Range], basis: Basis
) -> tuple[Range, float]:
    """(wall time, device seconds) of the transfer stage."""
    if not counts:
        return NOTHING, 0.0
    between = basis.history.typical("between")
    between = BETWEEN if between is None else max(0.0, between)
    order = sorted(counts, key=lambda kind: kind.regime.passes * kind.fraction, reverse=True)

    def packed(what: str) -> float:
        each = {kind: getattr(trials[kind], what) + between for kind in order}
        return makespan((each[k] for k in order for _ in range(counts[k])), basis.capacity.trials)

    middle = packed("middle")
    device = sum(n * (trials[kind].middle + between) for kind, n in counts.items())
    return Range(middle, packed("high") / middle - 1), device


def kinds(work: Workload) -> list[Step]:
    """Every kind of step that a study's work has, each once."""
    found = dict.fromkeys(step for chain in work.chains for step in chain.steps)
    for kind in work.transfers:
        found |= dict.fromkeys(transfer_steps(kind))
    return list(found)
