"""Ctrl-C and SIGTERM: what is complete is kept, and nothing of ours stays behind."""

import os
import select
import shlex
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_SECONDS = 8.0
_SHOW_CURSOR = "\x1b[?25h"
_given_up: list[str] = []


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """Inside, Ctrl-C or SIGTERM end this process, and all that it has started, within seconds.

    It says `kept()`, what there is of how much, and the command that goes on. A second one ends it
    at once. The exit code is 128 + the signal's number, as shells have it. Nothing is tidied up:
    the ledger holds whole results only, whenever a process ends.
    """
    error_output = os.dup(2)
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    before = {number: signal.signal(number, _stay) for number in _SIGNALS}
    # Python writes a signal's number there at once, whatever library holds the main thread, and
    # whoever else wants to hear of it.
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(heard, error_output, kept), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(tell)  # The listener hears that and goes.


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


def _listen(heard: int, error_output: int, kept: Callable[[], str]) -> None:
    number = _next(heard)
    if number is None:
        os.close(heard)
        os.close(error_output)
        return
    ending = threading.Thread(target=_end, args=(number, error_output, kept), daemon=True)
    ending.start()
    # A second one, or what takes too long: a storage that does not answer, say.
    select.select([heard], [], [], _PATIENCE_SECONDS)
    _leave(number)


def _next(heard: int) -> int | None:
    """The next signal that ends; None when there is to be none."""
    while content := os.read(heard, 1):
        if content[0] in _SIGNALS:
            return content[0]
    return None


def _end(number: int, error_output: int, kept: Callable[[], str]) -> None:
    try:
        there = kept()
    except Exception:  # Whatever the storage is in: this process ends.
        there = "results that are complete"
    start = f"\n{_SHOW_CURSOR}" if os.isatty(error_output) else ""
    why = _given_up[0] if _given_up else f"interrupted ({signal.Signals(number).name})"
    said = f"{start}{why}: {there} are kept"
    command = shlex.join(["python", "-m", "tuner", *sys.argv[1:]])
    with suppress(OSError):  # Whoever read it may be gone.
        os.write(error_output, f"{said}\nto go on: {command}\n".encode())
    _leave(number)


def _leave(number: int) -> None:
    end_children()
    os._exit(1 if _given_up else 128 + number)


def end_children() -> None:
    """Ends every process below this one. They are halted first: a halted one starts no other."""
    halted: set[int] = set()
    while fresh := _below(os.getpid()) - halted:
        for process in fresh:
            _send(process, signal.SIGSTOP)
        halted |= fresh
    for process in halted:
        _send(process, signal.SIGKILL)


def _send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _below(root: int) -> set[int]:
    """All that descends from a process."""
    children = defaultdict(list)
    for process, parent in _parents():
        children[parent].append(process)
    found: set[int] = set()
    todo = [root]
    while todo:
        for child in children[todo.pop()]:
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """(process, its parent), for all of this machine."""
    if not Path("/proc/self/stat").exists():
        with subprocess.Popen(["ps", "-Ao", "pid=,ppid="], stdout=subprocess.PIPE, text=True) as ps:
            listed = [tuple(map(int, line.split())) for line in ps.communicate()[0].splitlines()]
        yield from ((process, parent) for process, parent in listed if process != ps.pid)
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # pid (name, which may hold anything) state parent ...
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            yield int(folder.name), int(fields[1])
