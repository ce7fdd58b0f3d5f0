"""Execution settings: where and on what a study runs. They never enter a key."""

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """storage: the ledger's folder; data: the folder of data sets and weights; both on paths that
    all nodes see. address: of a running Ray cluster (None: this machine). workers: Ray Train
    processes a chain (None: one). cpus, gpus: of one transfer trial, fractions allowed (gpus None:
    one where there are any)."""

    storage: Path = Path("results")
    data: Path = Path("data")
    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float | None = None


def named(origin: str, storage: Path) -> str:
    """A study as a command line names it: by what the user calls it, with its storage where that is
    another than the default."""
    place = "" if storage == Settings.storage else f" --storage {shlex.quote(str(storage))}"
    return shlex.quote(origin) + place
