"""A storage that fails when it is told to: below one folder, at the n-th operation that changes it.

Operations are counted as the operating system sees them: making a folder, opening a file to write,
each write to it, bringing it to disk, renaming. Reading and removing always work.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

_RealFile = io.FileIO
Kind = Literal["error", "short", "flip", "call"]


@dataclass
class Faults:
    """at: the operation that fails, from 0; None: none does.

    kind: `error` raises `number`, a write having written half; `short` writes half, without an
    error; `flip` writes one bit wrongly, in silence; `call` calls `action` and goes on. Short
    writes and flips happen at the first write from `at` on. lasting: all later ones raise too.
    """

    root: Path
    at: int | None = None
    kind: Kind = "error"
    number: int = errno.ENOSPC
    lasting: bool = False
    action: Callable[[], Any] = lambda: None
    seen: list[tuple[str, str]] = field(default_factory=list)
    fired: int = 0

    def due(self, what: str, path: Any) -> bool:
        """Counts an operation below the root. Does the fault happen at it?"""
        if not str(path).startswith(f"{self.root}{os.sep}"):
            return False
        place = len(self.seen)
        self.seen.append((what, os.path.relpath(path, self.root)))
        if self.at is None:
            return False
        if self.kind in ("short", "flip"):
            return what == "write" and place >= self.at and not self.fired
        return place == self.at or (self.lasting and place > self.at)

    def strike(self, what: str, path: Any) -> None:
        """Raises, or calls, where that is due."""
        if self.due(what, path):
            self.fired += 1
            if self.kind == "call":
                self.action()
            else:
                raise OSError(self.number, os.strerror(self.number), str(path))

    def file(self, path: Any, mode: str) -> io.FileIO:
        """The unbuffered file behind an opened one."""
        faults = self

        class File(_RealFile):
            def write(self, content: Any) -> int:
                content = bytes(content)
                if not faults.due("write", path):
                    return super().write(content)
                faults.fired += 1
                if faults.kind == "call":
                    faults.action()
                    return super().write(content)
                if faults.kind == "flip":
                    wrong = bytearray(content)
                    wrong[len(wrong) // 2] ^= 1
                    return super().write(bytes(wrong))
                half = super().write(content[: (len(content) + 1) // 2])
                if faults.kind == "short":
                    return half
                raise OSError(faults.number, os.strerror(faults.number), str(path))

        return File(path, mode.replace("t", "").replace("b", ""))


@contextmanager
def faulty(root: Path, **faults: Any) -> Iterator[Faults]:
    """Inside, what changes `root` is counted, and fails as `faults` (see Faults) say."""
    plan = Faults(root, **faults)
    real_open, real_fsync = io.open, os.fsync

    def opened(path: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        inside = str(path).startswith(f"{root}{os.sep}")
        if not inside or not set(mode) & set("wax+"):
            return real_open(path, mode, *args, **more)
        plan.strike("open", path)
        file = io.BufferedWriter(plan.file(path, mode))
        return file if "b" in mode else io.TextIOWrapper(file, more.get("encoding"))

    def synced(number: int) -> None:
        plan.strike("fsync", os.readlink(f"/proc/self/fd/{number}"))
        real_fsync(number)

    def struck(name: str) -> Any:
        real = getattr(os, name)

        def operation(path: Any, *args: Any, **more: Any) -> Any:
            plan.strike(name, path)
            return real(path, *args, **more)

        return patch.object(os, name, operation)

    with (
        patch.object(io, "open", opened),
        patch.object(builtins, "open", opened),
        patch.object(os, "fsync", synced),
        struck("mkdir"),
        struck("rename"),
        struck("replace"),
    ):
        yield plan
