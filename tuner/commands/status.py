"""python -m tuner status: how much of a study is complete."""

from collections.abc import Mapping, Sequence

import typer

from trainables.store.ledger import Ledger
from tuner.options import DataOpt, SetOpt, StorageOpt, StudyArg, WithOpt, asked, reachable
from tuner.runtime.settings import Origin, Settings, rerun
from tuner.scheduling.worklist import Worklist, worklist
from tuner.storage import failures, state
from tuner.storage.state import WorkCount


def status(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
) -> None:
    """Show how much of a study is complete."""
    origin = asked(study, overrides, fragments)
    work = worklist(reachable(origin, data), Ledger(storage))
    work_table(state.counts(work))
    summarise(work, origin, Settings(storage, data))


def work_table(
    counts: Sequence[WorkCount], further: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Prints a study's work, a line for each kind, with further columns by their titles."""
    from rich.console import Console
    from rich.table import Table

    columns = {
        "total": [str(count.total) for count in counts],
        "complete": [str(count.complete) for count in counts],
        **(further or {}),
    }
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "what"):
        table.add_column(title)
    for title in columns:
        table.add_column(title, justify="right")
    for count, *numbers in zip(counts, *columns.values(), strict=True):
        table.add_row(count.stage, count.what, *numbers)
    Console(highlight=False).print(table)


def summarise(work: Worklist, origin: Origin, settings: Settings) -> None:
    """Prints how much is complete in all, what failed, and what searches may still ask for.
    origin, settings: as the user asks for it and where its results are."""
    storage = settings.storage
    counts = state.counts(work)
    total, complete = sum(c.total for c in counts), sum(c.complete for c in counts)
    typer.echo(f"{work.study.name}: {complete} of {total} results complete in {storage}")
    failed = failures.of_study(work.grid.keys, work.study.name, storage)
    for line in failures.lines(failed, storage, rerun(origin, settings)):
        typer.echo(line)
    if work.searches:
        typer.echo(f"{len(work.searches)} searches may ask for {work.most} transfers in all")
