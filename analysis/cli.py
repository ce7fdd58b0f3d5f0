"""The command line: every command of `commands/`, assembled."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands.collapse import collapse
from analysis.commands.compare import compare
from analysis.commands.curves import curves
from analysis.commands.extreme import extreme
from analysis.commands.figure import figure
from analysis.commands.paper import paper
from analysis.commands.report import report
from analysis.commands.search import search
from analysis.commands.show import show
from analysis.commands.table import table
from analysis.commands.timeline import timeline
from analysis.commands.trials import trials
from search_spaces import __version__
from search_spaces.errors import InputError

SCRIPT = "double-win-analysis"
# A shell completes the words behind a command of this name, not those behind python.
_AS_SCRIPT = Path(sys.argv[0]).name == SCRIPT

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=_AS_SCRIPT)
for command in (
    extreme,
    curves,
    collapse,
    timeline,
    search,
    figure,
    table,
    paper,
    report,
    trials,
    compare,
    show,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def base(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Verdicts, trials and curves of the studies that MLflow holds."""
    if version:
        print(f"{SCRIPT} {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 1 (nothing there yet), 2 (bad input)."""
    try:
        name = SCRIPT if _AS_SCRIPT else "python -m analysis"
        return app(arguments, prog_name=name, standalone_mode=False) or 0
    except typer.Abort:
        return 130  # Ctrl-C, as shells count it
    except InputError as error:
        reason = str(error)
    except typer.exceptions.TyperException as error:
        reason = error.format_message()
    print(f"error: {' '.join(reason.split())}", file=sys.stderr)
    return 2
