"""What `python -m tuner plan` says of cost: time, device hours, disk, and what hours would buy."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from search_spaces.errors import InputError
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.cluster import capacity as cluster
from tuner.estimate import cost, prices
from tuner.estimate.certainty import MARGIN, Certainty, affordable, certainty
from tuner.estimate.disk import disk
from tuner.estimate.history import history
from tuner.estimate.spread import METRICS, Spreads, spreads
from tuner.estimate.workload import Workload, workload
from tuner.runtime.console import duration, volume
from tuner.runtime.settings import Settings
from tuner.storage.state import Standing

HOURS = (10.0, 50.0, 200.0)


def show(
    study: Study,
    stands: Standing,
    storage: Path,
    capacity: cluster.Capacity,
    say: Callable[[str], None],
    hours: Sequence[float] = HOURS,
    measure: bool = True,
) -> None:
    """Prints the cost of what is missing of a study, and what hours would buy.

    Steps never measured on this machine are measured now, `say` being told; without `measure` the
    cache and finished transfers have to do.
    """
    where, ledger = prices.machine(capacity), Ledger(storage)
    try:
        work = workload(study, stands, capacity.workers)
        whole = workload(study, stands, capacity.workers, whole=True)
        steps = cost.kinds(whole)
    except InputError as error:
        print(f"cost: not known before the data are there ({error})")
        return
    known = prices.measured(steps, where, say) if measure else prices.known(steps, where)
    basis = cost.Basis(known, history(ledger, where.device), capacity)
    missing, total = cost.estimate(work, basis), cost.estimate(whole, basis)
    if missing is None or total is None:
        lacking = len(steps) - len(known)
        print(f"cost: not known: {lacking} of {len(steps)} kinds of step were never timed here")
        return
    for line in _cost_lines(missing, total, work, basis, where):
        print(line)
    if stands.tickets:
        _buy(total, missing, whole, spreads(stands, ledger), hours)


def here(settings: Settings) -> cluster.Capacity:
    """What this machine has for a run with these settings; raises InputError if it has less."""
    gpus = float(len(prices.gpu_names()))
    return cluster.fitted(settings, float(os.cpu_count() or 1), gpus)


def in_words(wall: cost.Range) -> str:
    """'3 min 50 s (3 min 10 s to 4 min 40 s)'."""
    return f"{duration(wall.middle)} ({duration(wall.low)} to {duration(wall.high)})"


def _cost_lines(
    missing: cost.Estimate,
    total: cost.Estimate,
    work: Workload,
    basis: cost.Basis,
    where: prices.Machine,
) -> list[str]:
    parts = [("start", missing.start), ("source", missing.source), ("transfers", missing.transfers)]
    shown = ", ".join(f"{name} {duration(part.middle)}" for name, part in parts)
    lines = [
        f"time: {in_words(missing.wall)}; {shown}" if missing.wall.middle else "time: none",
        f"on: {where.title}, {basis.capacity.trials} transfers side by side",
        f"device time: {_device_hours(missing)}; of the whole study {_device_hours(total)}",
    ]
    if space := disk(work, basis.prices, basis.capacity):
        lines.append(
            f"disk: {volume(space.results)} of results, {volume(space.mlflow)} in MLflow; up to "
            f"{volume(space.unfinished)} more while it runs"
        )
    trials, runs = sum(map(len, basis.history.trials.values())), len(basis.history.runs)
    made = (
        f"from: {len(basis.prices)} kinds of step timed, {trials} finished transfers, {runs} runs"
    )
    if not trials and not runs:
        made += f"; range: a factor of {1 + cost.UNTRIED:g} each way, assumed"
    lines.append(made)
    busy = prices.cores_busy()
    if prices.disturbed(where, busy):
        longer = (busy + basis.capacity.trials) / where.cpus
        lines.append(f"load: others want {busy:.0f} cores; while they do, {longer:.1f} x as long")
    return lines


def _device_hours(of: cost.Estimate) -> str:
    parts = [(of.cores, "core-hours"), (of.gpus, "GPU-hours")]
    shown = [f"{f'{h:,.0f}' if h >= 10 else f'{h:.2g}'} {unit}" for h, unit in parts if h]
    return " and ".join(shown) or "none"


def _buy(
    total: cost.Estimate,
    missing: cost.Estimate,
    whole: Workload,
    spread: Spreads,
    hours: Sequence[float],
) -> None:
    """A line for the study as it is and one for each budget, from now on."""
    table = Table(box=None, pad_edge=False)
    bounds = [f"± {score.upper()} {regime}" for score, regime in METRICS]
    for title in ("", "seeds", *bounds, "one-std rule", f"margin {MARGIN:g}"):
        table.add_column(title, justify="right")
    rows = [("as planned", round(whole.seeds))]
    for budget in hours:
        seeds = affordable(budget * 3600, missing.wall.middle, whole.seeds, total.seconds_a_seed)
        rows.append((f"{budget:g} h", seeds))
    for title, seeds in rows:
        table.add_row(title, *_certainty_cells(certainty(seeds, spread.values)))
    print(
        "\nwhat hours would buy from now on: seeds a level; ± points, the one-sided 95 % bound on a"
        "\ndifference to dense; how often a ticket identical to dense passes in all three metrics,"
        f"\nby the one-std rule, and by a t-test that it is less than {MARGIN:g} point below dense"
    )
    Console(highlight=False).print(table)
    deviations = ", ".join(f"{value:.2f}" for value in spread.values)
    basis = f"from {spread.groups} levels" if spread.groups else "assumed, nothing to measure it on"
    print(
        f"assumes: same grid and machine; paired seeds; differences normal with standard deviation "
        f"{deviations} points ({basis}); independent metrics; one ticket, one source seed"
    )


def _certainty_cells(of: Certainty) -> list[str]:
    bounds = [f"±{bound:.2f}" if math.isfinite(bound) else "none" for bound in of.bounds]
    shares = [f"{100 * share:.0f} %" for share in (of.one_std, of.non_inferiority)]
    return [str(of.seeds), *bounds, *shares]
