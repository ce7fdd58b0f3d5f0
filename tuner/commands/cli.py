"""The command line: run, search, plan, status, ... Heavy imports wait until they are needed."""

import sys
from typing import Annotated

import typer

from search_spaces.errors import InputError
from search_spaces.reading import studies
from tuner.commands import housekeeping, show
from tuner.commands.options import (
    AddressOpt,
    CpusOpt,
    DataOpt,
    GpusOpt,
    SetOpt,
    StorageOpt,
    StudyArg,
    WithOpt,
    WorkersOpt,
    load,
)
from tuner.runtime.settings import Settings

app = typer.Typer(
    name="python -m tuner",
    help="Find double-win lottery tickets: run studies, see where they stand.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Also try again what failed twice with one error."),
    ] = False,
) -> None:
    """Run a study: do what is not complete yet, then print the verdict.

    Running again resumes: finished pre-trainings, tickets and transfers are kept. Results are
    tracked in MLflow (MLFLOW_TRACKING_URI, default sqlite:///mlflow.db in this folder).
    """
    settings = Settings(storage, data, address, workers, cpus, gpus)
    loaded = load(study, overrides, data, fragment)
    from tuner.commands.run import run as run_study

    raise typer.Exit(run_study(loaded, settings, study, settle, retry_failed))


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
    loaded = load(study, overrides, data, fragment)
    from tuner.commands.search import search as search_study

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
    from tuner.evidence.plan import wish

    wanted = wish(levels, everything, points, images, reattack, autoattack_images)
    settings = Settings(storage, data, address, None, cpus, gpus)
    loaded = load(study, overrides, data, fragment)
    from tuner.commands.evidence import run as gather

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
    measure: Annotated[
        bool, typer.Option(help="Time kinds of step that were never timed on this machine.")
    ] = True,
) -> None:
    """Show what a run would do, what is already complete, and what the rest will take.

    Starts nothing of the study and writes no results. Time is what finished work of the same kind
    took; of kinds without any, a step is timed, once for a machine (kept in the user's cache).
    """
    if against is not None:
        return show.comparison(studies.load(study, overrides, fragment), studies.load(against))
    from tuner.commands import plan as planning

    settings = Settings(storage, data, None, workers, cpus, gpus)
    return planning.plan(study, show.reachable(study, overrides, fragment, data), settings, measure)


@app.command()
def status(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragment: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
) -> None:
    """Show how much of a study is complete."""
    show.standing(study, overrides, fragment, storage, data)


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
    from tuner.commands.simulate import report

    for line in report(studies.load(study, overrides), runs, seed, budget, storage, recorded):
        typer.echo(line)


app.add_typer(housekeeping.app)


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
