"""python -m tuner status: how much of a study is complete."""

from collections.abc import Mapping, Sequence

import typer

from search_spaces.errors import InputError
from search_spaces.study import Study
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
    """Prints how much is complete in all, what failed, which other versions of the study MLflow
    has, and what searches may still ask for. origin, settings: as the user asks for it and where
    its results are."""
    storage = settings.storage
    counts = state.counts(work)
    total, complete = sum(c.total for c in counts), sum(c.complete for c in counts)
    typer.echo(f"{work.study.name}: {complete} of {total} results complete in {storage}")
    failed = failures.of_study(work.grid.keys, work.study.name, storage)
    for line in failures.lines(failed, storage, rerun(origin, settings)):
        typer.echo(line)
    for line in _versions(work.study):
        typer.echo(line)
    if work.searches:
        typer.echo(f"{len(work.searches)} searches may ask for {work.most} transfers in all")


def _versions(study: Study) -> list[str]:
    """Which version a study is, if the store in force is a file that has others of its name."""
    from analysis.store import places, versions
    from analysis.store.runs import address

    uri = address(None)
    if (file := places.database(uri)) is None or not file.exists():
        return []
    try:
        known = versions.known(study.name, uri)
    except InputError:
        return []  # What is wrong with it is said by what needs it.
    others = [version for version in known if version.digest != study.version]
    if not others:
        return []
    listed = ", ".join(
        f"{versions.named(study.name, version.digest)} "
        f"({'complete' if version.complete else 'incomplete'})"
        for version in reversed(others)
    )
    own = versions.named(study.name, study.version)
    return [f"version: {own}; MLflow also has {listed}"]
