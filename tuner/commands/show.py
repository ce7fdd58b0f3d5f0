"""What `plan` and `status` print of a study. Loads no torch, no Ray, no MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.study import Study
from tuner.commands.options import load
from tuner.runtime.console import volume
from tuner.runtime.settings import Settings

if TYPE_CHECKING:
    from trainables.store.ledger import Ledger
    from tuner.storage.cleaning import Remains
    from tuner.storage.state import Standing, WorkCount


def comparison(first: Study, second: Study) -> None:
    """Prints what two studies set differently."""
    from rich.console import Console
    from rich.table import Table

    from tuner.commands.compare import differences

    table = Table(box=None, pad_edge=False)
    table.add_column("field", no_wrap=True)
    table.add_column(first.name, overflow="fold")
    table.add_column(second.name, overflow="fold")
    rows = differences(first, second)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
    typer.echo(f"{len(rows)} fields differ")


def note(line: str) -> None:
    """Says something beside the answer."""
    typer.echo(line, err=True)


def reachable(study: str, overrides: list[str] | None, fragment: Path | None, data: Path) -> Study:
    """A study with its data found, as far as they are there."""
    loaded = studies.load(study, overrides, fragment)
    try:
        return load(study, overrides, data, fragment)
    except InputError as error:
        # What is not there yet does not keep anybody from seeing what would be done with it.
        typer.echo(f"note: {error}")
        return loaded


def remains(found: "list[Remains]", study: Study, ledger: "Ledger") -> None:
    """Prints what of a storage may go, and what stays."""
    from rich.console import Console
    from rich.table import Table

    from tuner.storage import cleaning

    table = Table(box=None, pad_edge=False)
    for title in ("may go", "number", "size"):
        table.add_column(title, justify="left" if title == "may go" else "right")
    for kind in found:
        table.add_row(kind.what, str(len(kind.paths)), volume(kind.size))
    number, size = sum(len(kind.paths) for kind in found), sum(kind.size for kind in found)
    table.add_row("in all", str(number), volume(size))
    Console(highlight=False).print(table)
    unfinished, own = cleaning.kept(ledger), grid.keys_of(study)
    here = sum(path.stem in own for path in unfinished)
    much = volume(sum(map(cleaning.size, unfinished)))
    typer.echo(
        f"stays: {len(ledger.all_keys())} complete results, {len(unfinished)} unfinished trainings "
        f"({here} of {study.name}; {much})"
    )


def standing(
    study: str, overrides: list[str] | None, fragment: Path | None, storage: Path, data: Path
) -> None:
    """Prints how much of a study is complete."""
    from trainables.store.ledger import Ledger
    from tuner.storage import state

    loaded = reachable(study, overrides, fragment, data)
    stands = state.standing(loaded, Ledger(storage))
    work_table(state.rows(stands))
    summary(study, loaded, stands, storage)


def work_table(rows: "list[WorkCount]", further: "dict[str, list[str]] | None" = None) -> None:
    """Prints a study's work, a line for each kind, with further columns by their titles."""
    from rich.console import Console
    from rich.table import Table

    columns = {
        "total": [str(row.total) for row in rows],
        "complete": [str(row.complete) for row in rows],
        **(further or {}),
    }
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "what"):
        table.add_column(title)
    for title in columns:
        table.add_column(title, justify="right")
    for row, *numbers in zip(rows, *columns.values(), strict=True):
        table.add_row(row.stage, row.what, *numbers)
    Console(highlight=False).print(table)


def summary(study: str, loaded: Study, stands: "Standing", storage: Path) -> None:
    """Prints how much is complete in all, what failed, and what searches may still ask for."""
    from tuner.storage import failures, state

    rows = state.rows(stands)
    total, complete = sum(r.total for r in rows), sum(r.complete for r in rows)
    typer.echo(f"{loaded.name}: {complete} of {total} results complete in {storage}")
    origin = study if storage == Settings.storage else f"{study} --storage {storage}"
    for line in failures.told(failures.of_study(loaded, storage), storage, origin):
        typer.echo(line)
    if stands.agenda.searches:
        most, number = stands.agenda.most, len(stands.agenda.searches)
        typer.echo(f"{number} searches may ask for {most} transfers in all")
