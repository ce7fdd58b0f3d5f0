"""The command lines as users start them: each in a process of its own."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.support.paths import ROOT

PATIENCE = 300.0
"""Seconds in which whatever a test waits for must have come."""

STAGES = ("start", "source", "transfers", "evidence", "conclusion")
_OPENINGS = {
    "source: ": "source",
    "transfers": "transfers",
    "evidence: ": "evidence",
    "transfer stage: ": "conclusion",
}
"""What a command prints as a stage begins."""
_ENDINGS = {"source stage: ": "source", "transfer stage: ": "transfers"}
"""What it prints as one ends."""


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """What a command of this checkout is started in: this process's, but nobody's Ray or MLflow."""
    outside = ("RAY_", "MLFLOW_TRACKING")
    own = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    return {**own, "PYTHONPATH": str(ROOT), **more}


class Command:
    """`python -m MODULE ARGUMENTS` while it runs. `out` and `err` grow; leaving a `with` block ends
    it with all that it has started."""

    def __init__(self, module: str, *arguments: str, cwd: Path, **more: str) -> None:
        self.arguments, self.out, self.err = arguments, "", ""
        self.process = psutil.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True)
            for name in ("out", "err")
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str) -> None:
        for line in getattr(self.process, f"std{name}"):
            setattr(self, name, getattr(self, name) + line)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.below(), self.process]:
            if process.is_running():
                process.kill()
        self.process.wait()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def has_come_to(self, stage: str) -> bool:
        """Has this stage, or a later one, begun?"""
        begun = {"start", *self._said(_OPENINGS)}
        return any(STAGES.index(stage) <= STAGES.index(each) for each in begun)

    def is_in(self, stage: str) -> bool:
        """Is this stage going on? The source and the transfer stage do so side by side."""
        begun = self._said(_OPENINGS)
        return stage in (begun - self._said(_ENDINGS) if begun else {"start"})

    def _said(self, marks: Mapping[str, str]) -> set[str]:
        """The stages of which a line that begins with their mark was printed."""
        lines = self.out.splitlines()
        return {s for mark, s in marks.items() if any(line.startswith(mark) for line in lines)}

    def below(self) -> list[psutil.Process]:
        """Every process that it has started, or that those have."""
        try:
            return list(self.process.children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Waits for a truth, and gives it back; fails if the command ends before it comes."""
        deadline = time.monotonic() + seconds
        while not (truth := condition()):
            assert self.alive, f"ended too early:\n{self.out}{self.err}"
            assert time.monotonic() < deadline, f"nothing happens:\n{self.out}{self.err}"
            time.sleep(0.05)
        return truth

    def end(self, seconds: float = 2 * PATIENCE) -> Ended:
        """Waits for its end; fails if that takes longer."""
        try:
            code = self.process.wait(seconds)
        except psutil.TimeoutExpired:
            raise AssertionError(f"does not end:\n{self.out}{self.err}") from None
        for reader in self._readers:
            # What a killed command has started may hold its output open.
            reader.join(5)
        return Ended(code, self.out, self.err)


def call(module: str, *arguments: str, cwd: Path, **more: str) -> Ended:
    """Runs `python -m MODULE ARGUMENTS` to its end."""
    with Command(module, *arguments, cwd=cwd, **more) as command:
        return command.end()


def left(processes: list[psutil.Process], seconds: float = 2.0) -> list[psutil.Process]:
    """Those that have not ended within so many seconds; one that waits to be fetched has."""
    deadline = time.monotonic() + seconds
    while alive := [process for process in processes if _works(process)]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.05)
    return []


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
