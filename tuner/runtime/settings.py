"""Execution settings: where and on what a study runs. They never enter a key."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Keep = Literal["all", "winners", "none"]


@dataclass(frozen=True)
class Settings:
    """storage: the ledger's folder; data: the folder of data sets and weights; both on paths that
    all nodes see. address: of a running Ray cluster (None: this machine). workers: Ray Train
    processes a chain (None: one). cpus, gpus: of one transfer trial, fractions allowed (gpus None:
    one where there are any, or as measured: `tuner.estimate.packing`). events: a file or pipe that
    takes the progress as JSON lines. keep_weights: of which transfers (None: of all, while that
    takes little of the disk: `tuner.storage.keeping`)."""

    storage: Path = Path("results")
    data: Path = Path("data")
    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float | None = None
    events: Path | None = None
    keep_weights: Keep | None = None


@dataclass(frozen=True)
class Origin:
    """A study as the user asks for it: its name or a path, the files (--with) and the single fields
    (--set) that override it."""

    study: str
    overrides: tuple[str, ...] = ()
    fragments: tuple[Path, ...] = ()


def named(origin: Origin, settings: Settings) -> str:
    """A study as a command line names it, quoted for a shell: what the user calls it, and all that
    decides what it is and where its results are."""
    places = {"--storage": settings.storage, "--data": settings.data}
    usual = {"--storage": Settings.storage, "--data": Settings.data}
    words = [origin.study]
    for fragment in origin.fragments:
        words += ["--with", str(fragment)]
    for override in origin.overrides:
        words += ["--set", override]
    for option, folder in places.items():
        if folder != usual[option]:
            words += [option, str(folder)]
    return shlex.join(words)


def rerun(origin: Origin, settings: Settings) -> str:
    """The same with how it is run: what follows `run` or `search` on a command line."""
    own = {
        "--address": (settings.address, Settings.address),
        "--workers": (settings.workers, Settings.workers),
        "--cpus-per-trial": (settings.cpus, Settings.cpus),
        "--gpus-per-trial": (settings.gpus, Settings.gpus),
        "--keep-weights": (settings.keep_weights, Settings.keep_weights),
    }
    words = [w for option, (is_, usual) in own.items() if is_ != usual for w in (option, str(is_))]
    return " ".join([named(origin, settings), *([shlex.join(words)] if words else [])])
