"""One run of a study at a time on a storage."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search_spaces.errors import InputError


@contextmanager
def only_run(root: Path, study: str) -> Iterator[None]:
    """Holds the study's lock on this storage. Raises InputError, naming the holder, if another run
    has it, or if the storage knows no locks. The kernel frees the lock of a process that dies,
    however it dies."""
    path = root / "locks" / f"{study}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not inherited by the processes that a run starts: they must not hold it after the run.
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"study {study}: another run works on it in {root} ({_holder(path)}): wait for it, "
                "or end it first"
            ) from None
        except OSError as error:
            raise InputError(
                f"storage {root}: its file system has no locks ({error.strerror}): mount it with "
                "them (flock), or choose another --storage"
            ) from None
        file.truncate(0)
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
        file.write(json.dumps(about))
        file.flush()
        yield


def running(root: Path) -> list[str]:
    """The runs that work on a storage now, of whatever study: 'study S (process P on H ...)'."""
    found = []
    for path in sorted((root / "locks").glob("*.lock")):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(f"study {path.stem} ({_holder(path)})")
    return found


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text())
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError):
        return "just started"
