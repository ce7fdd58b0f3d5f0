"""What run, search and evidence work in: they open alike, say alike, and record failures alike."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search_spaces.base import Spec
from search_spaces.spec import Ticket
from search_spaces.study import Study
from trainables.store import epochs
from trainables.store.ledger import UNFINISHED, Ledger
from tuner.cluster.capacity import Capacity, check_local
from tuner.runtime.console import quiet
from tuner.runtime.interrupts import interruptible
from tuner.runtime.lock import only_run
from tuner.runtime.progress import Progress, StageProgress, waiting
from tuner.runtime.settings import Origin, Settings, named, rerun
from tuner.scheduling.worklist import Worklist
from tuner.storage import failures, inputs, sources
from tuner.storage.cleaning import sweep
from tuner.storage.entries import Entry, entries
from tuner.storage.failures import Failure, FailureReason
from tuner.storage.integrity import check_storage, on_sound_storage, set_damaged_aside
from tuner.tracking import backend
from tuner.tracking.window import Window

if TYPE_CHECKING:
    from tuner.stages.source import Sources


@dataclass(frozen=True)
class Session:
    """A command at work on a study, nobody else's at the time.

    origin: the study as the user asks for it; console: the terminal; log: the file
    that takes all other output; window: the study's in MLflow; failed: what has failed so far.
    """

    study: Study
    ledger: Ledger
    origin: Origin
    settings: Settings
    console: Console
    log: Path
    window: Window
    failed: list[Failure] = field(default_factory=list)

    @property
    def named(self) -> str:
        """The study as a command line names it."""
        return named(self.origin, self.settings)

    @property
    def rerun(self) -> str:
        """The same with how it is run: what follows `run` or `search`."""
        return rerun(self.origin, self.settings)

    def say(self, line: str = "", style: str | None = None) -> None:
        """Prints a line as it is."""
        self.console.print(line, style=style, markup=False)

    def tidy(self, specs: Iterable[Spec]) -> int:
        """Sets aside which of these results are damaged, saying so; forgets the failures of what is
        there by now. Returns how many were damaged."""
        damages = set_damaged_aside(specs, self.ledger)
        for damage in damages:
            self.say(f"damaged: {damage}")
        failures.forget_mended(self.ledger.root)
        return len(damages)

    def fail(self, entry: Entry, why: FailureReason) -> None:
        """Records and shows what has ended without a result."""
        self.failed.append(failures.record(self.ledger, entry, self.study.name, why))
        self.window.show(entry)

    def check_storage(self) -> None:
        """Raises InputError where what has failed did so because nothing can be written."""
        if self.failed:
            check_storage(self.ledger)

    def progress(
        self, title: str, done: int, total: int, names: Mapping[str, str]
    ) -> StageProgress:
        """A stage's progress on the screen; names: of what is made in it, by its key."""
        folder = self.ledger.root / UNFINISHED

        def at_work() -> list[str]:
            there = epochs.at_work(folder)
            return sorted(
                f"{names[each.key]}: epoch {each.epoch}/{each.last}"
                for each in there
                if each.key in names
            )

        return StageProgress(self.console, title, done, total, at_work, self._tell)

    def _tell(self, progress: Progress) -> None:
        if self.settings.events is not None:
            with self.settings.events.open("a", encoding="utf-8") as events:
                events.write(json.dumps(asdict(progress)) + "\n")

    @contextmanager
    def sources(
        self,
        work: Worklist,
        capacity: Capacity,
        title: str,
        given_up: Iterable[str] = (),
        over: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator["Sources"]:
        """The source stage, at work inside, with its progress on the screen and its results in
        MLflow. Leaving waits for its end; `over` is told when that was, after so many seconds."""
        from tuner.stages import chains, source

        named, wanted = entries(work.grid), work.grid.sources.keys()
        names = {key: named[key].name for key in wanted}
        progress = self.progress(title, len(wanted & work.complete), len(wanted), names)

        def made(key: str) -> None:
            self.window.show(named[key])
            if line := cut_line(named[key], self.ledger):
                self.say(line, style="yellow")
            progress.advance()

        def failed(key: str, why: FailureReason) -> None:
            self.fail(named[key], why)

        given_up, listener = set(given_up), source.Listener(made, failed, over)
        shown = progress if chains.unfinished(work, given_up) else nullcontext()
        with shown, source.started(work, capacity, listener, given_up) as sources:
            yield sources
        self.check_storage()

    def say_failed(self, failed: Iterable[Failure]) -> None:
        """Says what failed, and what to do."""
        self.say()
        for line in failures.lines(list(failed), self.ledger.root, self.rerun):
            self.say(line)
        self.say("run the same command again: what is complete is kept")


def cut_line(entry: Entry, ledger: Ledger) -> str | None:
    """What a ticket's mask has cut, if anything, in a line."""
    if not isinstance(entry.spec, Ticket):
        return None
    result = ledger.result(entry.spec)
    emptied, faults = result.get("emptied", []), []
    if emptied:
        more = f" and {len(emptied) - 3} more" if len(emptied) > 3 else ""
        faults.append(f"no weight is left in {', '.join(emptied[:3])}{more}")
    if result.get("cut"):
        faults.append("no path is left from image to class")
    if not faults:
        return None
    return f"{entry.name}: {'; '.join(faults)}: end at a lower level, or set scope: layer or erk"


def check(study: Study, settings: Settings, tracked: bool = True) -> list[str]:
    """What is worth a remark before any work on a study starts. Raises InputError for what can be
    seen to be wrong: in the settings, the study's data and weights, and, if it is to be `tracked`,
    MLflow."""
    check_local(settings)
    remarks = inputs.check(study) + sources.changed(study, Ledger(settings.storage))
    if tracked:
        backend.check_server()
    return remarks


@contextmanager
def session(
    work: Worklist,
    settings: Settings,
    origin: Origin,
    log_name: str,
    kept: Callable[[], str],
    tracked: bool = True,
) -> Iterator[Session]:
    """Opens a session on a study, which signals and a storage that fails end in order.

    log_name: what the log's begins with; kept: what an interruption says is there; tracked: is
    there anything to do, that MLflow should see? Raises InputError if another command works on the
    study, or if MLflow does not answer although it should.
    """
    study, ledger = work.study, work.ledger
    log = ledger.root / "logs" / f"{log_name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with (
        only_run(ledger.root, study.name),
        interruptible(kept) as at_last,
        on_sound_storage(ledger),
        quiet(log) as console,
    ):
        sweep(ledger.root)
        with waiting(console, "opening MLflow", plain=False):
            window = Window(work, partial(console.print, markup=False), origin.study, tracked)
        at_last(window.interrupted)
        try:
            yield Session(study, ledger, origin, settings, console, log, window)
        except BaseException:
            window.abandon()
            raise
