"""python -m tuner sync, clean, bench, data, studies, ui: what surrounds the runs of a study."""

import sys
from typing import Annotated

import typer

from search_spaces.errors import InputError
from search_spaces.reading import studies as reading
from tuner.commands import show
from tuner.commands.options import DataOpt, SetOpt, StorageOpt, StudyArg, WithOpt, load
from tuner.runtime.console import volume
from tuner.runtime.settings import Settings

app = typer.Typer()


@app.command()
def sync(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragment: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
) -> None:
    """Bring MLflow up to what the storage holds of a study, nothing twice.

    For when MLflow was away during a run, or is a new one.
    """
    loaded = load(study, overrides, data, fragment)
    from tuner.commands.sync import sync as write

    typer.echo(f"{loaded.name}: {write(loaded, Settings(storage, data))}")


@app.command()
def clean(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragment: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Show, then remove, what no complete result and no unfinished training needs.

    Complete results stay, of whatever study, and so does what an unfinished training goes on from.
    """
    from trainables.store.ledger import Ledger
    from tuner.commands import show
    from tuner.storage import cleaning

    loaded, ledger = show.reachable(study, overrides, fragment, data), Ledger(storage.resolve())
    cleaning.check_idle(ledger.root)
    found = cleaning.remains(ledger)
    show.remains(found, loaded, ledger)
    if found and (yes or (sys.stdin.isatty() and typer.confirm("remove these?"))):
        cleaning.check_idle(ledger.root)
        typer.echo(f"removed: {volume(cleaning.remove(found))}")
    elif found:
        typer.echo("nothing removed yet: --yes removes these")


@app.command()
def bench(
    peers: Annotated[
        bool, typer.Option("--peers", help="Also the attack libraries that are installed.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Rows with this in their name; repeat.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="ResNet-50 too, all in the batches trained with.")
    ] = False,
    packing: Annotated[
        bool, typer.Option("--packing", help="How many trainings side by side are best.")
    ] = False,
    growth: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="The commands on studies of N tiny transfers; repeat."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each contender.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="At least, for each row.")] = 5.0,
    form: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Measure this machine: training steps and evaluation against the published loop, attack
    libraries and the machine's own limits; what Ray adds to a chain and a transfer; pruning.

    Contenders take turns; what counts are the ratios. About 3 minutes on 2 cores.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: takes cpu or cuda")
    if form not in ("table", "json"):
        raise InputError(f"--format {form}: takes table or json")
    from trainables.bench.measure import BenchSettings
    from tuner.bench import measure as benching

    settings = BenchSettings(device, threads, (), full, (), seconds)
    if packing:
        text = benching.packing(settings, form, show.note)
    elif growth:
        text = benching.growth(growth, form, show.note)
    else:
        text = benching.table(settings, only or [], form, peers, show.note)
    typer.echo(text)


@app.command("data")
def fetch_data(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    data: DataOpt = Settings.data,
) -> None:
    """Fetch and verify all data and weights that a study needs, ahead of time."""
    from tuner.storage.fetching import fetch

    for line in fetch(reading.load(study, overrides), data):
        typer.echo(line)


@app.command()
def studies() -> None:
    """List the shipped studies with their head comments."""
    for name, text in reading.shipped().items():
        typer.echo(f"{name}\n")
        for line in reading.head_comment(text).splitlines():
            typer.echo(f"  {line}".rstrip())
        typer.echo()


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
) -> None:
    """Open MLflow's UI on the store in force, reachable from this machine only (Ctrl-C ends it)."""
    from tuner.commands.ui import serve

    serve(port)
