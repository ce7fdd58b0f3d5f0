"""python -m tuner data, studies, ui: what surrounds the runs of a study."""

from typing import Annotated

import typer

from search_spaces import reading
from tuner.options import DataOpt, SetOpt, StudyArg
from tuner.settings import Settings

app = typer.Typer()


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
    from tuner.ui import serve

    serve(port)
