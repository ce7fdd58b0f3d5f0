"""Which epoch each training at work is in, for whoever watches: one small file a training.

Nothing is decided by these files, so none is waited for, brought to disk or checked: a storage that
does not take one costs nobody but the watcher.
"""

from contextlib import suppress
from os import DirEntry, scandir
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".epoch"


class AtWork(NamedTuple):
    """A training at work: the key of what it makes, the epoch that it is in, and its last."""

    key: str
    epoch: int
    last: int


def tell(path: Path, epoch: int, last: int) -> None:
    """Says in a file that a training is in an epoch; `last` is the number of its last one."""
    with suppress(OSError):
        path.write_text(f"{epoch}/{last}", encoding="ascii")


def withdraw(path: Path) -> None:
    """The training is over, or waits for nobody knows what."""
    with suppress(OSError):
        path.unlink()


def at_work(folder: Path) -> list[AtWork]:
    """What the files in a folder say, those that changed last first."""
    try:
        with scandir(folder) as entries:
            files = [entry for entry in entries if entry.name.endswith(SUFFIX)]
    except OSError:
        return []
    found = []
    for file in files:
        # It may go, or be half written, while it is looked at.
        with suppress(OSError, ValueError):
            found.append((file.stat().st_mtime, _read(file)))
    return [each for _, each in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _read(file: "DirEntry[str]") -> AtWork:
    epoch, _, last = Path(file.path).read_text(encoding="ascii").partition("/")
    return AtWork(file.name.removesuffix(SUFFIX), int(epoch), int(last))
