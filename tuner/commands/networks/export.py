"""python -m tuner export: a ticket or a transfer as a folder that others load."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search_spaces.errors import InputError
from search_spaces.grid import TransferCell
from trainables.store import atomic
from tuner.commands.networks.named import NameArg, Named, StudyOpt, resolve
from tuner.options import DataOpt, SetOpt, StorageOpt, WithOpt, asked
from tuner.runtime.settings import Settings

if TYPE_CHECKING:
    from trainables.export.card import About

FormatOpt = Annotated[
    Literal["safetensors", "torch", "onnx", "huggingface"],
    typer.Option("--format", help="What the folder is to be loaded by."),
]
OutOpt = Annotated[
    Path | None, typer.Option(help="The folder to write; default: its name, with - for /.")
]
SmallerOpt = Annotated[
    bool,
    typer.Option("--remove-channels", help="Of torch and onnx: without channels that do nothing."),
]


def export(
    name: NameArg,
    form: FormatOpt = "safetensors",
    remove_channels: SmallerOpt = False,
    study: StudyOpt = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    out: OutOpt = None,
) -> None:
    """Write a finished ticket or transfer as a folder: weights, mask, settings, a card with its
    scores, where it comes from and the lines of Python that load it."""
    of = resolve(name, asked(study, overrides, fragments), Settings(storage, data))
    folder = out or Path(of.path.replace("/", "-"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--out {folder}: is there already: choose another, or remove it")
    from trainables.export.card import card
    from trainables.export.folder import smaller, written
    from trainables.export.taken import take

    about = described(of)
    taken = take(of.spec, of.ledger)
    names = {"study": about.study, "path": about.name, "key": about.key}
    files = (smaller if remove_channels else written)(taken, form, names)
    text = card(taken, about, files, hub=form == "huggingface")
    _put(folder, {**files.files, "README.md": text.encode()})
    typer.echo(f"wrote {folder}: {', '.join(sorted([*files.files, 'README.md']))}")
    typer.echo(f"loaded with {files.needs}: the lines are in {folder / 'README.md'}")
    for line in files.notes:
        typer.echo(f"note: {line}")


def described(of: Named) -> "About":
    """What the study knows of a ticket or a transfer, for its card."""
    from trainables.export.card import About

    ticket = of.ticket_cell
    about = About(
        name=of.path,
        key=of.key,
        study=of.study.name,
        version=of.study.version,
        theta=ticket.theta_cell.name,
        pruning=ticket.pruning,
    )
    if not isinstance(of.cell, TransferCell):
        return about
    from dataclasses import replace

    dense = of.dense and of.ledger.has(of.dense.transfer)
    return replace(
        about,
        regime=of.cell.regime,
        right=of.ledger.correct(of.cell.transfer) or {},
        dense=of.ledger.result(of.dense.transfer)["test"] if dense and of.dense else {},
    )


def _put(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files into a folder, which is made. Raises InputError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            atomic.write(folder / name, content)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written: {error.strerror}") from None
