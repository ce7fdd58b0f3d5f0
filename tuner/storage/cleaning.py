"""What a storage holds that no complete result and no unfinished training will ever read.

Complete results are never touched, nor the progress of a training without a result: a storage may
be shared by studies that are not known here.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from search_spaces.errors import InputError
from trainables.store import epochs
from trainables.store.ledger import UNFINISHED, Ledger
from tuner.runtime.lock import running
from tuner.storage import failures

RECENT = 3600.0
"""Seconds, by the storage's own clock, for which a temporary file may still have a writer."""


@dataclass(frozen=True)
class Remains:
    """Files or folders of one kind that may go, and the bytes that they take."""

    what: str
    paths: list[Path]
    size: int


def remains(ledger: Ledger) -> list[Remains]:
    """All that may go, by kind; kinds of which there is nothing are left out. Raises InputError for
    a storage that is not there or cannot be written."""
    root = ledger.root
    done = ledger.all_keys()
    kinds = {
        "progress of finished trainings": _finished_progress(root / UNFINISHED, done),
        "damaged results and progress, set aside": _set_aside(root),
        "temporary files of writers that died": _temporary(ledger),
        "working folders of runs that died": _children(root / "ray"),
        "records of failures that are mended": failures.mended(root),
    }
    listed = {what: sorted(paths) for what, paths in kinds.items()}
    return [Remains(what, paths, sum(map(size, paths))) for what, paths in listed.items() if paths]


def check_idle(root: Path) -> None:
    """Raises InputError while a run of any study works on the storage: what looks abandoned may be
    what it is writing."""
    if busy := running(root):
        raise InputError(f"storage {root}: {', '.join(busy)}: clean it when no run works on it")


def sweep(root: Path) -> None:
    """Removes the working folders of runs that died, and what they said of trainings at work, if
    the run that calls this is the only one."""
    if len(running(root)) <= 1:
        for folder in _children(root / "ray"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in _children(root / UNFINISHED):
            if file.suffix == epochs.SUFFIX:
                epochs.withdraw(file)


def remove(kinds: list[Remains]) -> int:
    """Removes what was found; returns the bytes that this frees. Raises InputError for what cannot
    be removed."""
    freed = 0
    for kind in kinds:
        for path in kind.paths:
            freed += size(path)
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise InputError(f"{path}: cannot be removed: {error.strerror}") from None
    return freed


def kept(ledger: Ledger) -> list[Path]:
    """Progress of trainings without a result: of this study, of others, or of earlier settings."""
    done = ledger.all_keys()
    files = _children(ledger.root / UNFINISHED)
    return [path for path in files if path.suffix == ".progress" and path.stem not in done]


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        return sum(size(child) for child in _children(path))
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _children(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder)]
    except OSError:
        return []


def _finished_progress(folder: Path, done: set[str]) -> list[Path]:
    return [p for p in _children(folder) if p.suffix == ".progress" and p.stem in done]


def _set_aside(root: Path) -> list[Path]:
    progress = _children(root / UNFINISHED)
    return [*_children(root / "damaged"), *(p for p in progress if p.suffix == ".damaged")]


def _temporary(ledger: Ledger) -> list[Path]:
    """What a writer moves into place when it is whole, and was not alive to."""
    root = ledger.root
    folders = *ledger.folders(), *failures.folders(root), root / UNFINISHED
    hidden = [p for folder in folders for p in _children(folder) if p.name.startswith(".")]
    now = _clock(root)
    return [p for p in hidden if now - p.lstat().st_mtime > RECENT]


def _clock(root: Path) -> float:
    """The time by the storage's clock, which may not be this machine's."""
    probe = root / f".write-test-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        when = probe.stat().st_mtime
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"storage {root}: cannot be written ({error.strerror}): choose another --storage"
        ) from None
    return when
