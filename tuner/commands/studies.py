"""python -m tuner studies, list, schema, init: what is shipped, what a study can name and hold,
one of one's own."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from search_spaces import grid, own
from search_spaces.errors import InputError
from search_spaces.networks import LIBRARIES, PREACTS, RESNETS, TAKES, Arch
from search_spaces.prunings import METHODS
from search_spaces.reading.draft import Draft
from search_spaces.reading.schema import json_schema, page
from search_spaces.reading.studies import head_comment, shipped
from search_spaces.regimes import ATTACKS
from search_spaces.spec import DATASETS
from search_spaces.study import Study
from tuner.estimate import drafting
from tuner.estimate.cost import Estimate
from tuner.estimate.drafting import DATA, NAMES
from tuner.options import DataOpt, note
from tuner.runtime.settings import Origin, Settings, named

Answer = TypeVar("Answer")


def studies() -> None:
    """List the shipped studies with their head comments."""
    for name, text in shipped().items():
        typer.echo(f"{name}\n")
        for line in head_comment(text).splitlines():
            typer.echo(f"  {line}".rstrip())
        typer.echo()


def names() -> None:
    """List what a study can name: networks, pruning criteria, attacks, data sets; the platform's
    and installed packages'."""
    for what, built_in in _BUILT_IN.items():
        typer.echo(f"{what}: {', '.join(built_in)}, package.module:object")
        for plugin in own.offered(what).values():
            typer.echo(f"  {plugin.name}: {plugin.target} ({plugin.package})")


_BUILT_IN = {
    "networks": [*RESNETS, *PREACTS, "wrn-DEPTH-WIDTH", *(f"{each}:NAME" for each in LIBRARIES)],
    "criteria": METHODS,
    "attacks": ATTACKS,
    "datasets": DATASETS,
}


def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page for people.")] = False,
) -> None:
    """Print the JSON schema of study files, by which editors complete and check YAML.

    `python -m tuner schema > study.json`, and as a study's first line
    `# yaml-language-server: $schema=study.json`.
    """
    typer.echo(page() if markdown else json.dumps(json_schema(), indent=1), nl=not markdown)


def init(
    file: Annotated[Path, typer.Argument(help="The study to write.")] = Path("study.yaml"),
    source: Annotated[
        str | None, typer.Option(metavar="DATA", help=f"Where tickets are found: {DATA}.")
    ] = None,
    downstream: Annotated[
        str | None, typer.Option(metavar="DATA", help="What they are transferred to, likewise.")
    ] = None,
    arch: Annotated[str | None, typer.Option(help=f"The network: {TAKES}.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=1, help="What a run may take on this machine; default: 10.")
    ] = None,
    data: DataOpt = Settings.data,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
) -> None:
    """Write a first study of your own data, with comments, for `plan` and `run`.

    What is not said by options is asked for on a terminal. A step of each kind is timed, so that a
    run takes about as many minutes as there are.
    """
    if file.exists() and not force:
        raise InputError(f"study {file}: is there already: choose another name, or --force")
    if file.suffix not in (".yaml", ".yml"):
        raise InputError(f"study {file}: must end in .yaml")
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    known = f"known: {', '.join(NAMES)}"
    if asks and (source is None or downstream is None):
        typer.echo(f"Data: {DATA}.\n({known})")
    source = source or _data("--source", "Find tickets on", data, asks)
    downstream = downstream or _data("--downstream", "Transfer them to", data, asks)
    tasks = drafting.tasks(source, downstream, data)
    usual = drafting.usual_arch(tasks[0].dataset.size)
    if asks and arch is None:
        arch = _prompt("Network", _arch, usual)
    if asks and minutes is None:
        minutes = _prompt("Minutes for a run", _minutes, "10")
    draft = Draft(drafting.name_of(file.stem), *tasks, _arch(arch or usual), minutes or 10.0)
    text, study, estimate = drafting.sized(draft, data, note)
    _write(file, text)
    _say(file, study, estimate, draft.minutes, data)


def _data(option: str, question: str, data: Path, asks: bool) -> str:
    if not asks:
        raise InputError(f"{option}: missing: {DATA} ({', '.join(NAMES)})")

    def there(text: str) -> str:
        drafting.dataset(text, data)
        return text

    return _prompt(question, there)


def _prompt(question: str, accept: Callable[[str], Answer], usual: str | None = None) -> Answer:
    """An answer from the terminal, asked for until it is one that `accept` takes."""

    def accepted(text: str) -> Answer:
        try:
            return accept(text)
        except InputError as error:
            raise typer.BadParameter(str(error)) from None

    answer: Answer = typer.prompt(question, usual, value_proc=accepted)
    return answer


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 1 <= minutes < math.inf:
        raise InputError(f"--minutes {text}: takes a number from 1")
    return minutes


def _arch(name: str) -> Arch:
    try:
        return TypeAdapter[Arch](Arch).validate_python(name)
    except ValidationError as error:
        raise InputError(f"--arch {error.errors()[0]['ctx']['error']}") from None


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"study {file}: cannot be written: {error.strerror}") from None


def _say(file: Path, study: Study, estimate: Estimate | None, minutes: float, data: Path) -> None:
    transfers, thetas = len(grid.transfers(study)), len(study.source.pretrainings)
    task, source = study.downstream[0], study.source
    typer.echo(
        f"{file}: tickets of {source.dataset.title} for {task.dataset.title}, "
        f"{source.model.arch}, {thetas} thetas, {transfers} transfers"
    )
    if estimate:
        typer.echo(f"a run takes {estimate} on this machine")
        if estimate.middle > 60 * minutes:
            typer.echo(f"that is more than {minutes:g} min: no smaller study says anything")
    asked = named(Origin(str(file)), Settings(data=data))
    typer.echo("Next:")
    for command in ("plan", "run"):
        typer.echo(f"  python -m tuner {command} {asked}")
