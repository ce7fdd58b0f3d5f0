"""What a run would do and what it would take. Loads no torch, no Ray, no MLflow."""

import os

import typer

from search_spaces.errors import InputError
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.cluster import capacity as cluster
from tuner.commands.show import summary, work_table
from tuner.estimate import cost, prices
from tuner.estimate.cost import Outlook
from tuner.estimate.prices import Machine
from tuner.runtime.console import roughly, volume
from tuner.runtime.settings import Settings
from tuner.storage import state


def plan(origin: str, study: Study, settings: Settings, measure: bool) -> None:
    """Prints a study's work, and the time and the disk that the rest will take on this machine.

    Kinds of step that were never timed here are timed now; without `measure` the cache and finished
    work have to do. Raises InputError for settings that this machine cannot meet.
    """
    ledger = Ledger(settings.storage)
    gpus = float(len(prices.gpu_names()))
    capacity = cluster.fitted(settings, float(os.cpu_count() or 1), gpus)
    where, stands = prices.machine(capacity), state.standing(study, ledger)
    ahead = cost.outlook(stands, ledger, capacity, where.device)
    try:
        known, why = _priced(ahead, where, measure)
        estimate = cost.estimate(ahead, known)
    except InputError as error:  # The data to count are not there.
        estimate, why = None, str(error)
    rows = state.rows(stands)
    columns = {"to run": [str(row.total - row.complete) for row in rows]}
    if estimate:
        times = (estimate.rows.get((row.stage, row.what), 0.0) for row in rows)
        columns["time"] = [roughly(seconds) if seconds else "" for seconds in times]
    work_table(rows, columns)
    summary(origin, study, stands, settings.storage)
    on = f"on {where.title}, {capacity.trials} transfers side by side"
    if estimate:
        typer.echo(f"time: {estimate}, {on}; disk: {volume(estimate.size or 0)}")
    elif why:
        typer.echo(f"time: not known: {why}")


def _priced(ahead: Outlook, where: Machine, measure: bool) -> tuple[prices.Prices, str]:
    """(prices of the steps ahead, why they are not all known; empty if they are)."""
    steps = ahead.steps
    known = prices.known(steps, where)
    new = [step for step in steps if step not in known]
    if new and measure:
        typer.echo(f"timing {len(new)} kinds of step, once for this machine ...", err=True)
        known |= prices.timed(new, where)
        new = [step for step in steps if step not in known]
    if not new:
        return known, ""
    if measure:
        return known, f"{new[0].model.arch} at {new[0].size} pixels cannot be timed here"
    return known, f"{len(new)} kinds of step were never timed here (leave --no-measure out)"
