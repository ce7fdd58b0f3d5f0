"""The command line: run, plan, status, studies, ui. Heavy imports wait until they are needed."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from search_spaces import reading
from search_spaces.errors import InputError
from tuner.settings import Settings

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
StorageOpt = Annotated[Path, typer.Option(help="Folder of finished results; all nodes see it.")]


@app.command()
def run(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    storage: StorageOpt = Settings.storage,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; default: this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Ray Train processes for each source chain.")
    ] = None,
    cpus_per_trial: Annotated[float, typer.Option(help="CPUs of one transfer.")] = 1.0,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPUs of one transfer, fractions allowed.")
    ] = None,
) -> None:
    """Run a study: do what is not complete yet, then print the verdict.

    Running again resumes: finished pre-trainings, tickets and transfers are kept. Results are
    tracked in MLflow (MLFLOW_TRACKING_URI, default sqlite:///mlflow.db in this folder).
    """
    settings = Settings(storage, address, workers, cpus_per_trial, gpus_per_trial)
    loaded = reading.load(study, overrides)
    from tuner.run import run as run_study

    raise typer.Exit(run_study(loaded, settings))


@app.command()
def plan(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    storage: StorageOpt = Settings.storage,
) -> None:
    """Show what a run would do and what is already complete. Starts and writes nothing."""
    _show(study, overrides, storage, planned=True)


@app.command()
def status(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    storage: StorageOpt = Settings.storage,
) -> None:
    """Show how much of a study is complete."""
    _show(study, overrides, storage, planned=False)


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
    uri = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    if uri.startswith("http"):
        raise InputError(f"MLFLOW_TRACKING_URI {uri}: is a server already: open it in a browser")
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.exists():
        raise InputError(f"MLflow store {path}: not there: run a study in this folder first")
    typer.echo(f"MLflow UI on http://127.0.0.1:{port} for {uri}")
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execve(sys.executable, command, environment)


def _show(study: str, overrides: list[str] | None, storage: Path, planned: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from trainables.ledger import Ledger
    from tuner import state

    loaded = reading.load(study, overrides)
    rows = state.rows(loaded, Ledger(storage))
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
