"""python -m tuner clean: what a storage holds that nothing needs."""

import sys
from typing import Annotated

import typer

from search_spaces import grid
from search_spaces.finished.weights import Weights
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.options import DataOpt, SetOpt, StorageOpt, StudyArg, WithOpt, asked, reachable
from tuner.runtime.console import volume
from tuner.runtime.settings import Settings
from tuner.scheduling.worklist import worklist
from tuner.storage import cleaning, keeping
from tuner.storage.cleaning import Remains


def clean(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    weights: Annotated[
        bool, typer.Option("--weights", help="Also the weights that the study's transfers keep.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Show, then remove, what no complete result and no unfinished training needs.

    Complete results stay, of whatever study, and so does what an unfinished training goes on from.
    Without its weights a transfer has to be trained again to be judged otherwise or exported.
    """
    loaded, ledger = reachable(asked(study, overrides, fragments), data), Ledger(storage.resolve())
    cleaning.check_idle(ledger.root)
    remains = cleaning.remains(ledger)
    if weights and (kept := keeping.of_study(worklist(loaded, ledger))):
        title = f"kept weights of {loaded.name}"
        remains.append(Remains(title, kept, sum(map(cleaning.size, kept))))
    _show(remains, loaded, ledger)
    if remains and (yes or (sys.stdin.isatty() and typer.confirm("remove these?"))):
        cleaning.check_idle(ledger.root)
        typer.echo(f"removed: {volume(cleaning.remove(remains))}")
    elif remains:
        typer.echo("nothing removed yet: --yes removes these")


def _show(remains: list[Remains], study: Study, ledger: Ledger) -> None:
    """Prints what of a storage may go, and what stays."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("may go", "number", "size"):
        table.add_column(title, justify="left" if title == "may go" else "right")
    for kind in remains:
        table.add_row(kind.what, str(len(kind.paths)), volume(kind.size))
    number, size = sum(len(kind.paths) for kind in remains), sum(kind.size for kind in remains)
    table.add_row("in all", str(number), volume(size))
    Console(highlight=False).print(table)
    unfinished, own = cleaning.kept(ledger), grid.expand(study).keys
    here = sum(path.stem in own for path in unfinished)
    much = volume(sum(map(cleaning.size, unfinished)))
    weights = ledger.keys(Weights)
    results = len(ledger.all_keys() - weights)
    typer.echo(
        f"stays: {results} complete results, weights of {len(weights)} transfers, "
        f"{len(unfinished)} unfinished trainings ({here} of {study.name}; {much})"
    )
