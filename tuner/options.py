"""What the commands share: arguments, options, reading a study, a word beside the answer."""

from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.regimes import Protocol
from search_spaces.study import Study
from tuner.runtime.settings import Keep, Origin

StudyArg = Annotated[str, typer.Argument(help="A shipped study's name, or a path to a .yaml file.")]
SetOpt = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a field: downstream.0.seeds=[0,1]."),
]
WithOpt = Annotated[
    list[Path] | None,
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
    typer.Option(
        "--gpus-per-trial",
        help="GPUs of one training, fractions allowed; default: a whole one, "
        "but in run and plan on this machine the part that measures best.",
    ),
]
NormOpt = Annotated[str | None, typer.Option(help="Of the attack's ball: linf (default) or l2.")]
EpsilonOpt = Annotated[
    str | None, typer.Option(help="Its radius, in [0, 1] pixels; default: 8/255, of l2 0.5.")
]
AlphaOpt = Annotated[
    str | None, typer.Option(help="Size of a step; default: a quarter of the radius.")
]
StepsOpt = Annotated[int | None, typer.Option(help="PGD's steps; default: 20.")]
RestartsOpt = Annotated[
    int | None, typer.Option(help="PGD's random starts, all of which have to fail; default: 1.")
]
ProtocolOpt = Annotated[
    Protocol | None,
    typer.Option(help="plain (default): PGD's last iterate decides; worst_iterate: all of them."),
]
KeepOpt = Annotated[
    Keep | None,
    typer.Option(
        "--keep-weights",
        help="Of which transfers the weights are kept; winners: of all until the verdict, then of "
        "its levels and dense. Default: all, where they take no more than a tenth of the free "
        "disk.",
    ),
]
EventsOpt = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file or pipe that takes progress as JSON lines."),
]


def asked(study: str, overrides: list[str] | None, fragments: list[Path] | None = None) -> Origin:
    """A study as the command line asks for it."""
    return Origin(study, tuple(overrides or ()), tuple(fragments or ()))


def read(origin: Origin) -> Study:
    """A study as it is written, its overrides applied."""
    return studies.load(origin.study, origin.overrides, origin.fragments)


def load(origin: Origin, data: Path) -> Study:
    """A study with its data found: paths absolute, contents verified."""
    from tuner.storage.inputs import resolve

    return resolve(read(origin), data)


def reachable(origin: Origin, data: Path) -> Study:
    """A study with its data found, as far as they are there."""
    unresolved = read(origin)
    try:
        return load(origin, data)
    except InputError as error:
        # What is not there yet does not keep anybody from seeing what would be done with it.
        typer.echo(f"note: {error}")
        return unresolved


def note(line: str) -> None:
    """Says something beside the answer."""
    typer.echo(line, err=True)
