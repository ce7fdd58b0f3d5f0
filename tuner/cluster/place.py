"""A short folder of our own for a Ray that is started here, and an end for all that uses it.

Ray's sockets lie below its folder, and a socket's path holds 107 bytes. What Ray starts does not
end with a driver that is killed: its agents ask a head that is gone for a minute. So a guardian, a
process of its own, waits for the driver's end, whatever that is, then ends what is left and removes
the folder.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

import psutil

from search_spaces.errors import InputError

LONGEST = 41
"""Bytes of a folder's path that leave room for the longest of Ray's sockets below it."""
MARK = "DOUBLE_WIN_PLACE"
"""The environment variable by which a guardian knows what was started in its folder."""


@contextmanager
def own() -> Iterator[Path]:
    """A folder for one run, guarded. Raises InputError where none has a path short enough."""
    folder = _made()
    guardian = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    # It has left a child behind that is not ours any more, and so outlives us.
    guardian.wait()
    assert guardian.stdin is not None, "it is a pipe"
    try:
        yield folder
    finally:
        guardian.stdin.close()
        rmtree(folder, ignore_errors=True)


def _made() -> Path:
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="dwt-", dir=base))
            if len(os.fsencode(folder)) <= LONGEST:
                return folder
            folder.rmdir()
    raise InputError(
        f"TMPDIR {tempfile.gettempdir()}: Ray needs a folder to write, with a path of at "
        f"most {LONGEST} bytes: set TMPDIR to a shorter one"
    )


def guard(folder: Path) -> None:
    """Waits for the end of whoever holds the other end of standard input, then clears up."""
    if os.fork():
        return
    while os.read(0, 1):
        pass
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder):
                process.kill()
    rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
