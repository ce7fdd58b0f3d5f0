"""The command line: every command of `commands/`, assembled."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from search_spaces import __version__
from search_spaces.errors import InputError
from tuner.commands.bench import bench
from tuner.commands.clean import clean
from tuner.commands.data import data
from tuner.commands.evidence import evidence
from tuner.commands.networks.evaluate import evaluate
from tuner.commands.networks.export import export
from tuner.commands.networks.latency import latency
from tuner.commands.networks.masks import masks
from tuner.commands.plan import plan
from tuner.commands.run import run
from tuner.commands.search import search
from tuner.commands.simulate import simulate
from tuner.commands.status import status
from tuner.commands.studies import init, names, schema, studies
from tuner.commands.sync import sync
from tuner.commands.ui import ui

SCRIPT = "double-win"
# A shell completes the words behind a command of this name, not those behind python.
_AS_SCRIPT = Path(sys.argv[0]).name == SCRIPT

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=_AS_SCRIPT)
for command in (
    init,
    run,
    search,
    evaluate,
    evidence,
    export,
    latency,
    masks,
    plan,
    status,
    simulate,
    sync,
    clean,
    bench,
    data,
    studies,
    schema,
    ui,
):
    app.command()(command)
app.command("list")(names)


@app.callback(invoke_without_command=True)
def base(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Find double-win lottery tickets: run studies, see where they stand."""
    if version:
        typer.echo(f"{SCRIPT} {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Runs the command line. Bad input: one line on standard error, exit code 2."""
    try:
        code = app(prog_name=SCRIPT if _AS_SCRIPT else "python -m tuner", standalone_mode=False)
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
