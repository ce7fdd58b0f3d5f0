"""The command line: run, search, plan, status, ... Heavy imports wait until they are needed."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search_spaces import reading
from search_spaces.errors import InputError
from search_spaces.study import Study
from tuner.notes import MODE
from tuner.settings import Settings

if TYPE_CHECKING:
    from tuner.state import Standing

app = typer.Typer(
    name="python -m tuner",
    help="Find double-win lottery tickets: run studies, see where they stand.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

StudyArg = Annotated[str, typer.Argument(help="A shipped study's name, or a path to a .yaml file.")]
SetOpt = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a field: downstream.0.seeds=[0,1]."),
]
WithOpt = Annotated[
    Path | None,
    typer.Option("--with", metavar="FILE", help="Overrides from a file, as a search writes it."),
]
DataOpt = Annotated[Path, typer.Option(help="Folder of data sets and weights; all nodes see it.")]
StorageOpt = Annotated[Path, typer.Option(help="Folder of finished results; all nodes see it.")]
AddressOpt = Annotated[
    str | None, typer.Option(help="A running Ray cluster; default: this machine.")
]
WorkersOpt = Annotated[
    int | None, typer.Option(min=1, help="Ray Train processes for each source chain.")
]
CpusOpt = Annotated[float, typer.Option("--cpus-per-trial", help="CPUs of one training.")]
GpusOpt = Annotated[
    float | None,
    typer.Option("--gpus-per-trial", help="GPUs of one training, fractions allowed."),
]


@app.command()
def run(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragment: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    address: AddressOpt = None,
    workers: WorkersOpt = None,
    cpus: CpusOpt = 1.0,
    gpus: GpusOpt = None,
    settle: Annotated[
        bool, typer.Option("--settle", help="Adaptive levels: go on until the verdict is settled.")
    ] = False,
) -> None:
    """Run a study: do what is not complete yet, then print the verdict.

    Running again resumes: finished pre-trainings, tickets and transfers are kept. Results are
    tracked in MLflow (MLFLOW_TRACKING_URI, default sqlite:///mlflow.db in this folder).
    """
    settings = Settings(storage, data, address, workers, cpus, gpus)
    loaded = _load(study, overrides, data, fragment)
    from tuner.run import run as run_study

    raise typer.Exit(run_study(loaded, settings, study, settle))


@app.command()
def search(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragment: WithOpt = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials wanted in all. Default: the study's.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no trial that would make it last longer.")
    ] = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    address: AddressOpt = None,
    workers: WorkersOpt = None,
    cpus: CpusOpt = 1.0,
    gpus: GpusOpt = None,
) -> None:
    """Search better hyper-parameters on validation images, as the study's search: section says.

    Running again keeps every finished trial. The winning recipe is a file for `run --with`.
    """
    settings = Settings(storage, data, address, workers, cpus, gpus)
    loaded = _load(study, overrides, data, fragment)
    from tuner.search import search as search_study

    raise typer.Exit(search_study(loaded, settings, study, trials, minutes))


@app.command()
def evidence(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragment: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    address: AddressOpt = None,
    cpus: CpusOpt = 1.0,
    gpus: GpusOpt = None,
    levels: Annotated[
        str | None,
        typer.Option(help="Re-train these levels, as in 0,4,9; default: dense, extreme, next."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Re-train every finished transfer.")
    ] = False,
    points: Annotated[int, typer.Option(help="Points along a side of a landscape, odd.")] = 11,
    images: Annotated[int, typer.Option(min=1, help="Test images of a landscape.")] = 128,
    reattack: Annotated[
        int, typer.Option(min=0, help="PGD steps at each point of a landscape; 0: attack once.")
    ] = 2,
    autoattack_images: Annotated[
        int, typer.Option(min=0, help="Test images of AutoAttack; 0: none.")
    ] = 50,
) -> None:
    """Gather evidence on what is finished of a study: masks, agreement, landscapes, calibration,
    masked gradients, AutoAttack.

    Some transfers are trained again for their weights. Running again resumes. The evidence goes to
    evidence/ among the artifacts of the study's MLflow run.
    """
    from tuner.evidence_plan import wish

    wanted = wish(levels, everything, points, images, reattack, autoattack_images)
    settings = Settings(storage, data, address, None, cpus, gpus)
    loaded = _load(study, overrides, data, fragment)
    from tuner.evidence import run as gather

    raise typer.Exit(gather(loaded, settings, study, wanted))


@app.command()
def plan(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragment: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    against: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Print what the two set differently.")
    ] = None,
    workers: WorkersOpt = None,
    cpus: CpusOpt = 1.0,
    gpus: GpusOpt = None,
    hours: Annotated[
        str, typer.Option(metavar="H,H,...", help="Budgets to say the worth of.")
    ] = "10,50,200",
    measure: Annotated[
        bool, typer.Option(help="Time steps never timed on this machine; else cache and history.")
    ] = True,
) -> None:
    """Show what a run would do, what is already complete, and what the rest will cost.

    Starts nothing of the study and writes no results: steps of each kind are timed for seconds,
    once for a machine, and kept in the user's cache.
    """
    if against is not None:
        return _compare(reading.load(study, overrides, fragment), reading.load(against))
    from tuner import plan as planning

    budgets = _hours(hours)
    capacity = planning.here(Settings(storage, data, None, workers, cpus, gpus))
    loaded, stands = _show(study, overrides, fragment, storage, data, planned=True)
    return planning.show(loaded, stands, storage, capacity, _note, budgets, measure)


@app.command()
def status(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragment: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
) -> None:
    """Show how much of a study is complete."""
    _show(study, overrides, fragment, storage, data, planned=False)


@app.command()
def simulate(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    runs: Annotated[int, typer.Option(min=10, help="Simulated searches of each kind.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same table.")] = 0,
    budget: Annotated[
        int | None, typer.Option(min=10, help="Transfers of a search; default: the study's.")
    ] = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="On the study's own finished curves.")
    ] = False,
    storage: StorageOpt = Settings.storage,
) -> None:
    """Try search policies on known curves, without training: how often is the level right?

    Curves are shaped like the paper's (monotone; humped: robust accuracy rises before it falls), or
    (--recorded) those that the study's finished transfers show. Searches run through the scheduling
    and the verdict that a run uses.
    """
    from tuner.simulation import report

    for line in report(reading.load(study, overrides), runs, seed, budget, storage, recorded):
        typer.echo(line)


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
    from trainables.bench import Settings as Asked
    from tuner import bench as benching

    settings = Asked(device, threads, (), full, (), seconds)
    typer.echo(benching.main(settings, only or [], form, packing, peers, _note))


@app.command("data")
def fetch_data(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    data: DataOpt = Settings.data,
) -> None:
    """Fetch and verify all data and weights that a study needs, ahead of time."""
    from tuner.fetching import fetch

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
    from analysis.disclosure import public
    from tuner import tracking

    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking.DEFAULT_URI
    if uri.startswith("http"):
        shown = public(uri)
        raise InputError(f"MLFLOW_TRACKING_URI {shown}: is a server already: open it in a browser")
    path = Path(uri.removeprefix(tracking.SQLITE))
    if uri.startswith(tracking.SQLITE):
        if not path.exists():
            raise InputError(f"MLflow store {path}: not there: run a study in this folder first")
        tracking.check_database(path)
    else:
        tracking.connect()
    address = f"http://127.0.0.1:{port}/#/experiments?{MODE}"
    typer.echo(f"MLflow UI for {public(uri)}: {address} (keep Model training at the top left)")
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Not on the command line, which every user of the machine can see: it may hold a password.
        "MLFLOW_BACKEND_STORE_URI": uri,
    }
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    os.execve(sys.executable, command, environment)


def _load(
    study: str, overrides: list[str] | None, data: Path, fragment: Path | None = None
) -> Study:
    """A study with its data found: paths absolute, contents verified."""
    from tuner.data import resolve

    return resolve(reading.load(study, overrides, fragment), data)


def _compare(first: Study, second: Study) -> None:
    from rich.console import Console
    from rich.table import Table

    from tuner.compare import differences

    table = Table(box=None, pad_edge=False)
    table.add_column("field", no_wrap=True)
    table.add_column(first.name, overflow="fold")
    table.add_column(second.name, overflow="fold")
    rows = differences(first, second)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
    typer.echo(f"{len(rows)} fields differ")


def _note(line: str) -> None:
    typer.echo(line, err=True)


def _hours(text: str) -> list[float]:
    try:
        budgets = [float(part) for part in text.split(",")]
    except ValueError:
        budgets = []
    if not budgets or not all(0 < hours < 1e6 for hours in budgets):
        raise InputError(f"--hours {text}: takes positive numbers, as in 10,50,200")
    return budgets


def _show(
    study: str,
    overrides: list[str] | None,
    fragment: Path | None,
    storage: Path,
    data: Path,
    planned: bool,
) -> "tuple[Study, Standing]":
    from rich.console import Console
    from rich.table import Table

    from trainables.ledger import Ledger
    from tuner import state

    loaded = reading.load(study, overrides, fragment)
    try:
        loaded = _load(study, overrides, data, fragment)
    except InputError as error:
        # What is not there yet does not keep anybody from seeing what would be done with it.
        typer.echo(f"note: {error}")
    stands = state.standing(loaded, Ledger(storage))
    rows = state.rows(stands)
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "what"):
        table.add_column(title)
    for title in ("total", "complete", *(["to run"] if planned else [])):
        table.add_column(title, justify="right")
    for row in rows:
        left = [str(row.total - row.complete)] if planned else []
        table.add_row(row.stage, row.what, str(row.total), str(row.complete), *left)
    Console(highlight=False).print(table)
    total, complete = sum(r.total for r in rows), sum(r.complete for r in rows)
    typer.echo(f"{loaded.name}: {complete} of {total} results complete in {storage}")
    if stands.agenda.searches:
        most = stands.agenda.most
        counted = ", all counted below" if planned else ""
        number = len(stands.agenda.searches)
        typer.echo(f"{number} searches may ask for {most} transfers in all{counted}")
    return loaded, stands


def main() -> None:
    """Runs the command line. Bad input: one line on standard error, exit code 2."""
    try:
        code = app(prog_name="python -m tuner", standalone_mode=False)
    except InputError as error:
        code = _refuse(str(error))
    except typer.exceptions.TyperException as error:
        code = _refuse(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted: what is complete is kept; run the same command again", err=True)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(reason: str) -> int:
    typer.echo(f"error: {' '.join(reason.split())}", err=True)
    return 2
