"""What the user sees, and in which words; everything else that is printed goes to a log file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console


@contextmanager
def quiet(log: Path) -> Iterator[Console]:
    """Gives a console on the real standard output; inside, all else that this process and the ones
    it starts print, by whatever means, goes to `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    log.parent.mkdir(parents=True, exist_ok=True)
    real_out, real_err = os.dup(1), os.dup(2)
    with log.open("ab") as sink, os.fdopen(os.dup(real_out), "w") as screen:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield Console(file=screen, highlight=False, soft_wrap=True)
        finally:
            with suppress(OSError):  # The log's disk may be full.
                sys.stdout.flush()
                sys.stderr.flush()
            os.dup2(real_out, 1)
            os.dup2(real_err, 2)
            os.close(real_out)
            os.close(real_err)


def duration(seconds: float) -> str:
    """'4 min 41 s', '38 s', '2 h 05 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def roughly(seconds: float) -> str:
    """'40 s', '5 min', '7 hours', '12 days', '100 years': two digits of the unit that suits."""
    units = {"years": 31_557_600, "days": 86_400, "hours": 3600, "min": 60}
    name, unit = next(((n, u) for n, u in units.items() if seconds >= 2 * u), ("s", 1))
    return f"{float(f'{seconds / unit:.2g}'):,.0f} {name}"


def volume(size: float) -> str:
    """Bytes: '0.4 kB', '12 MB', '1.5 GB'."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 else f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
