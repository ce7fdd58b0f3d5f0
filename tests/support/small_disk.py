"""A file system of its own that fills up; tests skip where none can be mounted."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Mounts so much memory at a place (`4m`: four megabytes)."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def filled(disk: Path, leave: int = 0) -> Path:
    """A file that takes what room there is, but for so many bytes; remove it to make room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while leave < (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize):
                file.write(bytes(min(4096, free - leave)))
        except OSError:
            pass  # Somebody else took the rest.
    return filler
