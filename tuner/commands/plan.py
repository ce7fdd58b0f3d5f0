"""python -m tuner plan: what a run would do, what is complete, what the rest will take."""

import os
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.reading.differences import differences
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.cluster.capacity import fitted
from tuner.commands.status import summarise, work_table
from tuner.estimate import cost, packing, prices
from tuner.options import (
    CpusOpt,
    DataOpt,
    GpusOpt,
    KeepOpt,
    SetOpt,
    StorageOpt,
    StudyArg,
    WithOpt,
    WorkersOpt,
    asked,
    note,
    read,
)
from tuner.runtime.console import roughly, volume
from tuner.runtime.settings import Origin, Settings
from tuner.scheduling.worklist import worklist
from tuner.storage import inputs, keeping, sources, state


def plan(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    against: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Print what the two set differently.")
    ] = None,
    workers: WorkersOpt = None,
    cpus: CpusOpt = 1.0,
    gpus: GpusOpt = None,
    keep_weights: KeepOpt = None,
    measure: Annotated[
        bool, typer.Option(help="Time kinds of step that were never timed on this machine.")
    ] = True,
) -> None:
    """Show what a run would do, what is already complete, and what the rest will take.

    Starts nothing of the study and writes no results. Time is what finished work of the same kind
    took; of kinds without any, a step is timed, once for a machine (kept in the user's cache).
    """
    origin = asked(study, overrides, fragments)
    if against is not None:
        return _compare(read(origin), studies.load(against))
    settings = Settings(storage, data, None, workers, cpus, gpus, None, keep_weights)
    resolved = _checked(read(origin), data)
    for remark in sources.changed(resolved, Ledger(storage)):
        typer.echo(f"note: {remark}")
    return _plan(origin, resolved, settings, measure)


def _checked(study: Study, data: Path) -> Study:
    """A study with its data found, as far as they are there; prints what a run would refuse."""
    try:
        study = inputs.resolve(study, data)
        for remark in inputs.check(study):
            typer.echo(f"note: {remark}")
    except InputError as error:
        typer.echo(f"note: run refuses it as it is: {error}")
    return study


def _plan(origin: Origin, study: Study, settings: Settings, measure: bool) -> None:
    """Prints a study's work, and the time and the disk that the rest will take on this machine.

    Kinds of step that were never timed here are timed now; without `measure` the cache and finished
    work have to do. Raises InputError for settings that this machine cannot meet.
    """
    gpus = float(len(prices.gpu_names()))
    capacity = fitted(settings, float(os.cpu_count() or 1), gpus)
    work = worklist(study, Ledger(settings.storage))
    try:
        if measure and settings.gpus is None:
            capacity = packing.packed(capacity, work, note)
        where = prices.machine(capacity)
        ahead = cost.outlook(work, capacity, where.device, settings.keep_weights)
        known, why = cost.priced(ahead, where, note if measure else None)
        estimate = cost.estimate(ahead, known)
    except InputError as error:  # The data to count are not there.
        estimate, why = None, str(error)
    counts = state.counts(work)
    columns = {"to run": [str(count.total - count.complete) for count in counts]}
    if estimate:
        times = (estimate.rows.get((count.stage, count.what), 0.0) for count in counts)
        columns["time"] = [roughly(seconds) if seconds else "" for seconds in times]
    work_table(counts, columns)
    summarise(work, origin, settings)
    if judged := len(keeping.judged_only(work)):
        typer.echo(f"{judged} transfers need no training: the weights they end in are kept")
    if estimate:
        disk = f"; disk: {volume(estimate.size)}" if estimate.size else ""
        typer.echo(f"time: {estimate}{disk}")
        typer.echo(f"on: {where.title}, {capacity.trials} transfers side by side")
    elif why:
        typer.echo(f"time: not known: {why}")


def _compare(first: Study, second: Study) -> None:
    """Prints what two studies set differently."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("field", no_wrap=True)
    table.add_column(first.name, overflow="fold")
    table.add_column(second.name, overflow="fold")
    different = differences(first, second)
    for row in different:
        table.add_row(*row)
    Console(highlight=False).print(table)
    typer.echo(f"{len(different)} fields differ")
