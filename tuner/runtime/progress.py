"""What the user sees while a stage works: how much is done, and what is in which epoch.

On a terminal a few lines that move; anywhere else a line now and then.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tuner.runtime.console import roughly

_TICK_SECONDS = 0.5
_PLAIN_SECONDS = 15.0
_BAR, _SHOWN = 12, 3
# Fewer results, or a smaller part of those to come, say little of the pace.
_FEW, _PART = 3, 0.1


@dataclass(frozen=True)
class Progress:
    """How far a stage is. at_work: the trainings that are going on, each with its epoch."""

    stage: str
    done: int
    total: int
    at_work: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join([f"{self.stage}: {self.done}/{self.total}", *self.at_work])


def time_left(fresh: int, rest: int, seconds: float) -> str:
    """'about 3 min left': what `rest` results will take, where `fresh` ones have taken so many
    seconds; empty as long as these are too few to go by."""
    if not rest or fresh < max(_FEW, _PART * (fresh + rest)):
        return ""
    return f"about {roughly(seconds / fresh * rest)} left"


@contextmanager
def waiting(console: Console, what: str, plain: bool = True) -> Iterator[None]:
    """While something starts: what, moving on a terminal, where it leaves nothing; else a line,
    or, if not `plain`, nothing."""
    if not console.is_terminal:
        if plain:
            console.print(f"{what} ...", markup=False)
        yield
        return
    spinner = Spinner("dots", Text(what, no_wrap=True, overflow="ellipsis"))
    live = _live(console, lambda: spinner, transient=True)
    _start(live)
    try:
        yield
    finally:
        live.stop()


class StageProgress:
    """Progress of one stage, from `done` to `total`.

    at_work: says which trainings are going on and how far they are, a line each; `tell` hears of
    every change.
    """

    def __init__(
        self,
        console: Console,
        name: str,
        done: int,
        total: int,
        at_work: Callable[[], Sequence[str]] = tuple,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._console, self._name, self._at_work = console, name, at_work
        self._done, self._total, self._first = done, total, done
        self._started = time.monotonic()
        self._tell, self._told = tell, Progress("", 0, 0)
        self._note = ""
        self._working: Sequence[str] = ()
        self._printed, self._said = self._started, ""
        self._over = Event()
        self._ticker = Thread(target=self._tick, name="progress", daemon=True)
        self._spinner = Spinner("dots")
        self._live = _live(console, self._screen) if console.is_terminal else None

    def __enter__(self) -> "StageProgress":
        if self._live:
            _start(self._live)
        else:
            self._say()
        self._report()
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._ticker.join()
        self._working = ()
        self._report()
        if self._live:
            self._live.stop()
        elif self._said != self._line():
            self._say()

    def advance(self, left: int | None = None, note: str = "", count: int = 1) -> None:
        """So many more are done; `left` says how many are to come, where that has changed; `note`
        what is worth knowing by now."""
        self._done += count
        self._note = note
        if left is not None:
            self._total = self._done + left

    def _tick(self) -> None:
        """Looks again and again at what is at work; without a terminal, says so now and then."""
        while not self._over.wait(_TICK_SECONDS):
            first = not self._working
            self._working = self._at_work()
            self._report()
            if self._live:
                continue
            due = time.monotonic() - self._printed > _PLAIN_SECONDS
            if (due or (first and self._working)) and self._said != self._line():
                self._say()

    def _report(self) -> None:
        now = Progress(self._name, self._done, self._total, tuple(self._working))
        if now != self._told:
            self._told = now
            self._tell(now)

    def _say(self) -> None:
        self._printed, self._said = time.monotonic(), self._line()
        self._console.print(self._said, markup=False)

    def _line(self) -> str:
        """All there is to say, in one line."""
        return ", ".join(filter(None, [f"{self._name}: {self._count()}", *self._further()]))

    def _count(self) -> str:
        return f"{self._done}/{self._total}"

    def _left(self) -> str:
        seconds = time.monotonic() - self._started
        return time_left(self._done - self._first, self._total - self._done, seconds)

    def _further(self) -> list[str]:
        working = self._working[:1]
        more = len(self._working) - len(working)
        return [self._left(), self._note, *working, f"{more} more at work" if more > 0 else ""]

    def _screen(self) -> Group:
        """The same for a terminal: a bar, and below it a line each."""
        table = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(self._total, 1), completed=self._done, width=_BAR)
        words = ", ".join(filter(None, [self._count(), self._left()]))
        spinner = [] if self._over.is_set() else [self._spinner]
        table.add_row(*spinner, Text(self._name), bar, Text(words, no_wrap=True))
        shown = [*([self._note] if self._note else []), *self._working[:_SHOWN]]
        if (more := len(self._working) - _SHOWN) > 0:
            shown.append(f"and {more} more at work")
        return Group(table, *map(_below, shown))


def _below(line: str) -> Text:
    return Text(f"  {line}", no_wrap=True, overflow="ellipsis")


def _live(console: Console, screen: Callable[[], RenderableType], transient: bool = False) -> Live:
    """Lines that are drawn again and again. The streams stay where they are: what libraries print
    goes to the log, and must not come back to the screen from there."""
    return Live(
        console=console,
        get_renderable=screen,
        transient=transient,
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=False,
    )


_latest: Live | None = None


def _start(live: Live) -> None:
    global _latest
    _latest = live
    live.start()


def stop_drawing() -> None:
    """Leaves the screen as it is, for somebody else's last word."""
    if _latest:
        _latest.stop()
