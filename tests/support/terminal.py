"""Programs as they run on a terminal: what reaches the screen, under a pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.commands import PATIENCE, environment

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Shown(NamedTuple):
    """What a program wrote to its terminal: code, its exit code; text, all of it."""

    code: int
    text: str

    @property
    def drawn(self) -> list[str]:
        """Every line that was drawn, also those that others took the place of, bare of colours and
        of the cursor's moves."""
        return [_ESCAPES.sub("", line) for line in re.split(r"[\r\n]+", self.text)]


def run(*arguments: str, cwd: Path, columns: int, typed: str = "", **more: str) -> Shown:
    """Runs `python ARGUMENTS` to its end on a terminal of so many columns; typed: what somebody
    types before it asks. more: environment variables."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    own = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
    begun = time.monotonic()
    program = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**own, "TERM": "xterm-256color", **more},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    content = b""
    while time.monotonic() - begun < 2 * PATIENCE:
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            content += os.read(ours, 65536)
        except OSError:  # Nobody holds the other end any more.
            break
    else:
        program.kill()
    os.close(ours)
    return Shown(program.wait(), content.decode(errors="replace"))
