"""Ctrl-C and SIGTERM: what is complete is kept, and nothing of ours stays behind."""

import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from tuner.runtime.progress import stop_drawing

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_SECONDS = 8.0
_LAST_SECONDS = 2.0
_SHOW_CURSOR = "\x1b[?25h"
_given_up: list[str] = []


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Inside, Ctrl-C or SIGTERM end this process, and all that it has started, within seconds.

    It says `kept()`, what there is of how much, and the command that goes on; then it does what it
    has been given to do last, by a call of what this yields, as far as that takes no longer than
    two seconds. A second signal ends it at once. The exit code is 128 + the signal's number, as
    shells have it. Nothing else is tidied up: the ledger holds whole results only, whenever a
    process ends.
    """
    last: list[Callable[[], None]] = []
    error_output = os.dup(2)
    heard, wake = os.pipe()
    os.set_blocking(wake, False)
    before = {number: signal.signal(number, _stay) for number in _SIGNALS}
    # Python writes a signal's number there at once, whatever library holds the main thread, and
    # whoever else wants to hear of it.
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    listening = threading.Thread(
        target=_listen, args=(heard, error_output, kept, last), daemon=True
    )
    listening.start()
    try:
        yield last.append
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake)  # The listener hears that and goes.


def give_up(why: str) -> None:
    """Ends this process and all that it has started as SIGTERM does, but says why; exit code 1."""
    _given_up.append(why)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def own_handlers() -> Iterator[None]:
    """The handlers from before are in force again afterwards: Ray takes SIGTERM for itself."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stay(*_: object) -> None:
    """The main thread takes no notice of a signal: the listener ends it."""


def _listen(
    heard: int, error_output: int, kept: Callable[[], str], last: list[Callable[[], None]]
) -> None:
    number = _next(heard)
    if number is None:
        os.close(heard)
        os.close(error_output)
        return
    # What is ended below may be missed by whoever watches it, and given up: that is no reason then.
    why = _given_up[0] if _given_up else ""
    code = 1 if why else 128 + number
    why = why or f"interrupted ({signal.Signals(number).name})"
    ending = threading.Thread(target=_end, args=(why, code, error_output, kept, last), daemon=True)
    ending.start()
    # A second one, or what takes too long: a storage that does not answer, say.
    select.select([heard], [], [], _PATIENCE_SECONDS)
    _leave(code)


def _next(heard: int) -> int | None:
    """The next signal that ends; None when there is to be none."""
    while content := os.read(heard, 1):
        if content[0] in _SIGNALS:
            return content[0]
    return None


def _end(
    why: str,
    code: int,
    error_output: int,
    kept: Callable[[], str],
    last: list[Callable[[], None]],
) -> None:
    # Nothing more is finished while it is counted and said; the main thread waits for them.
    halt_children()
    try:
        there = kept()
    except Exception:  # Whatever the storage is in: this process ends.
        there = "results that are complete"
    start = f"\n{_SHOW_CURSOR}" if os.isatty(error_output) else ""
    message = f"{start}{why}: {there} are kept"
    # What is drawn again would be drawn over it.
    _briefly(stop_drawing)
    command = shlex.join(["python", "-m", "tuner", *sys.argv[1:]])
    with suppress(OSError):  # Whoever read it may be gone.
        os.write(error_output, f"{message}\nto go on: {command}\n".encode())
    # Before the end of what was started: the main thread notices that, and goes its own way.
    for do in last:
        _briefly(do)
    _leave(code)


def _briefly(do: Callable[[], None]) -> None:
    """Waits for something to be done, but not for long."""
    doing = threading.Thread(target=do, daemon=True)
    doing.start()
    doing.join(_LAST_SECONDS)


def _leave(code: int) -> None:
    end_children()
    os._exit(code)


def end_children() -> None:
    """Ends every process below this one."""
    for process in halt_children():
        with suppress(psutil.Error):
            process.kill()


def halt_children() -> set[psutil.Process]:
    """Halts every process below this one, and returns them: a halted one starts no other."""
    parent, halted = psutil.Process(), set[psutil.Process]()
    while fresh := {*parent.children(recursive=True)} - halted:
        for process in fresh:
            with suppress(psutil.Error):
                process.suspend()
        halted |= fresh
    return halted
