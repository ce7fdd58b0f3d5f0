"""Files that are there whole or not at all, whoever is killed while they are written."""

import os
import uuid
from contextlib import suppress
from pathlib import Path


def staging(path: Path) -> Path:
    """A name of its own beside `path`, to write under before moving it there: the move is atomic
    within one folder. It begins with a dot, as nothing that counts as a result does."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def flushed(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, content: bytes | str) -> None:
    """Puts a file in place of what is there, which stays if this cannot be written. The folder is
    not made: one that has gone would be hidden by another in its place.

    Raises OSError."""
    part = staging(path)
    try:
        flushed(part, content.encode() if isinstance(content, str) else content)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
