"""Estimate against actual: what a run was thought to take, and what it took."""

import socket
import time
from dataclasses import dataclass

from search_spaces.errors import InputError
from search_spaces.grid import TransferCell
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.cluster.capacity import Capacity
from tuner.estimate import cost, prices
from tuner.estimate.history import RunRecord, history
from tuner.estimate.workload import workload
from tuner.runtime.console import duration
from tuner.storage.state import Standing, standing

# Fewer transfers a slot say more of how a process starts than of what lies between two.
_ENOUGH_A_SLOT = 5


@dataclass(frozen=True)
class Forecast:
    """What a run is about to do; estimate: None where the cache and finished work do not tell."""

    study: str
    capacity: Capacity
    device: str
    stands: Standing
    estimate: cost.Estimate | None
    disturbed: bool


def forecast(
    study: Study, ledger: Ledger, capacity: Capacity, busy: float, local: bool = True
) -> Forecast:
    """What is missing of a study, estimated from what is known already: nothing is timed here.

    busy: the cores that other programs wanted when the run began. Of a cluster elsewhere (not
    `local`) this machine's prices say nothing.
    """
    stands, where = standing(study, ledger), prices.machine(capacity)
    estimate = _known(study, stands, ledger, capacity, where) if local else None
    disturbed = prices.disturbed(where, busy)
    return Forecast(study.name, capacity, where.device, stands, estimate, disturbed)


def _known(
    study: Study, stands: Standing, ledger: Ledger, capacity: Capacity, where: prices.Machine
) -> cost.Estimate | None:
    try:
        work = workload(study, stands, capacity.workers)
        known = prices.known(cost.kinds(work), where)
    except InputError:  # Data that only the workers see cannot be counted here.
        return None
    return cost.estimate(work, cost.Basis(known, history(ledger, where.device), capacity))


def settle(
    forecast: Forecast, ledger: Ledger, wall: float, took: dict[str, float], failures: int
) -> RunRecord:
    """The record of a run that took `wall` seconds, of them `took` by its stages."""
    stands, estimate = forecast.stands, forecast.estimate
    made = [cell for cell, done in stands.transfers if not done and ledger.has(cell.transfer)]
    source = sum(not done for _, done in (*stands.thetas, *stands.tickets))
    total = estimate.wall if estimate else None
    return RunRecord(
        study=forecast.study,
        ended=time.time(),
        host=socket.gethostname(),
        device=forecast.device,
        estimated=(total.low, total.middle, total.high) if total else None,
        wall=wall,
        source=took.get("source"),
        source_model=estimate.source_model if estimate and source else None,
        transfers=took.get("transfers"),
        between=_between(made, ledger, took.get("transfers"), forecast.capacity.trials),
        results=source + len(made),
        failures=failures,
        disturbed=forecast.disturbed,
    )


def _between(
    made: list[TransferCell], ledger: Ledger, stage: float | None, slots: int
) -> float | None:
    """Slot time of the transfer stage that was no transfer's own, for each transfer."""
    if stage is None or len(made) < _ENOUGH_A_SLOT * slots:
        return None
    results = [ledger.result(cell.transfer) for cell in made]
    own = sum(result["ended"] - result["started"] for result in results)
    return max(0.0, (slots * stage - own) / len(made))


def in_words(record: RunRecord) -> str | None:
    """'estimated 3 min 50 s (3 min 10 s to 4 min 40 s), took 4 min 12 s', where it was."""
    if record.estimated is None:
        return None
    low, middle, high = map(duration, record.estimated)
    return f"estimated {middle} ({low} to {high}), took {duration(record.wall)}"


def numbers(record: RunRecord) -> dict[str, float]:
    """A run's seconds by name, as they are tracked; those it does not have are left out."""
    found = {
        "wall_seconds": record.wall,
        "source_seconds": record.source,
        "transfers_seconds": record.transfers,
        "estimated_seconds": record.estimated[1] if record.estimated else None,
    }
    return {name: value for name, value in found.items() if value is not None}
