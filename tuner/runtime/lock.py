"""One run of a study at a time on a storage."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from search_spaces.errors import InputError


@contextmanager
def only_run(root: Path, study: str) -> Iterator[None]:
    """Holds the study's lock on this storage. Raises InputError, naming the holder, if another run
    has it, or if the storage knows no locks. The kernel frees the lock of a process that dies,
    however it dies."""
    path = root / "locks" / f"{study}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path, _sign)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"study {study}: another run works on it in {root} ({_holder(path)}): wait for it, "
            "or end it first"
        ) from None
    except OSError as error:
        raise InputError(
            f"storage {root}: its file system has no locks ({error.strerror}): mount it with "
            "them (flock), or choose another --storage"
        ) from None
    try:
        yield
    finally:
        lock.release()


def running(root: Path) -> list[str]:
    """The runs that work on a storage now, of whatever study: 'study S (process P on H ...)'."""
    busy = []
    for path in sorted((root / "locks").glob("*.lock")):
        try:
            with _lock(path):
                pass
        except Timeout:
            busy.append(f"study {path.stem} ({_holder(path)})")
    return busy


def _lock(path: Path, signed: Callable[[int], None] | None = None) -> FileLock:
    """The kernel's lock, tried once, and none in its place: a marker that a killed run leaves would
    lock its study for good."""
    return FileLock(
        path, timeout=0, fallback_to_soft=False, preserve_lock_file=True, on_acquired=signed
    )


def _sign(file: int) -> None:
    """Writes into the lock's file who has it."""
    about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
    os.ftruncate(file, 0)
    os.write(file, json.dumps(about).encode())


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text())
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError):
        return "just started"
