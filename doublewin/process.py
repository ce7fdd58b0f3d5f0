"""A run in a process of its own, its progress heard by a callback."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import tuner
from search_spaces.errors import InputError
from tuner.runtime.progress import Progress

USAGE = 2
"""The exit code of a command that has found something wrong in what it was given."""


class Ended(NamedTuple):
    """A command's exit code and all that it printed."""

    code: int
    printed: str


def run(arguments: Sequence[str], progress: Callable[[Progress], object] | None) -> Ended:
    """`python -m tuner run ARGUMENTS` to its end; `progress` hears of every change, on this thread.

    An interruption here (KeyboardInterrupt, as a notebook's stop button raises it) ends the run
    in order, as Ctrl-C does, and goes on from here; so does an exception of `progress`. Raises
    InputError with the command's own line if it refused its input.
    """
    heard, told = os.pipe()
    with open(heard, encoding="utf-8") as events:
        try:
            running = subprocess.Popen(
                [sys.executable, "-m", "tuner", "run", f"--events=/dev/fd/{told}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=(printed := _scratch()),
                stderr=subprocess.STDOUT,
                pass_fds=[told],
                env=_environment(),
                start_new_session=True,
            )
        finally:
            os.close(told)
        with printed:
            try:
                for line in events:
                    if progress is not None:
                        told_of = json.loads(line)
                        progress(Progress(**{**told_of, "at_work": tuple(told_of["at_work"])}))
                code = running.wait()
            except BaseException:
                running.send_signal(signal.SIGINT)
                running.wait()
                raise
            printed.seek(0)
            text = printed.read().decode(errors="replace").strip()
    if code == USAGE:
        raise InputError(text.splitlines()[-1].removeprefix("error: "))
    return Ended(code, text)


def _scratch() -> IO[bytes]:
    """A file for what the command prints: a pipe that nobody reads would halt it."""
    return tempfile.TemporaryFile()


def _environment() -> dict[str, str]:
    """This process's, in which the command finds the packages that this one has, installed or
    not."""
    here = str(Path(tuner.__file__).parents[1])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
