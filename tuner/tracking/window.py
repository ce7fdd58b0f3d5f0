"""A study's window in MLflow while something runs.

It is kept by a thread of its own, so that training never waits for MLflow. One that does not answer
is left alone for a while, which is said once; what it has missed is written when it is back, or at
the latest by `python -m tuner sync`.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from analysis.store.runs import UnreadableError, address, explained
from tuner.scheduling.worklist import Worklist
from tuner.storage.entries import Entry
from tuner.tracking import backend
from tuner.tracking.opening import open_tracker
from tuner.tracking.tracker import Tracker

PAUSE = 60.0
"""Seconds for which MLflow is left alone after it has not answered."""
PATIENCE = 90.0
"""Seconds that the end of a run waits for the next thing to be written: longer than a request and
its retry may take."""

_MOMENT = 1.0

T = TypeVar("T")


class Window:
    """Writes what is shown to it to MLflow, whenever MLflow answers; `say` tells the user.

    origin: what the user calls the study. Raises InputError if MLflow does not answer at the start,
    unless it is not `needed`: then nothing is lost by saying so.
    """

    def __init__(
        self, work: Worklist, say: Callable[[str], None], origin: str, needed: bool = True
    ) -> None:
        self._worklist, self._say, self._origin = work, say, origin
        self._uri = address(None)
        self._pause_ends = 0.0
        self._said_away = False
        self._tracker: Tracker | None = None
        try:
            self._tracker = self._open()
            if not self._tracker.alone:
                say(f"in MLflow: {self._tracker.named}, apart from other versions")
        except UnreadableError as error:
            if needed:
                raise
            self._away(str(error))
        self._error: Exception | None = None
        self._todo: SimpleQueue[Callable[[Tracker], None] | None] = SimpleQueue()
        # A daemon: an interrupted run ends at once, whatever MLflow does.
        self._thread = Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def catch_up(self) -> None:
        """Has all that MLflow lacks written."""
        self._todo.put(Tracker.catch_up)

    def show(self, entry: Entry) -> None:
        """Has a result, or a failure that is recorded, written."""
        self._todo.put(lambda tracker: tracker.show(entry))

    def finish(self, last: Callable[[Tracker], T]) -> T | None:
        """Waits until all is written, then does something last; None if MLflow is away."""
        self._todo.put(None)
        while self._thread.is_alive():
            before = self.written
            self._thread.join(PATIENCE)
            if self._thread.is_alive() and self.written == before:
                self._away("is too slow")
                return None
        if self._error:
            raise self._error

        def all_and_last(tracker: Tracker) -> T:
            tracker.catch_up()
            return last(tracker)

        return self._attempt(all_and_last)

    def abandon(self) -> None:
        """For a run that is refused or fails: nothing more is written, and the study's own run is
        not left as if it went on."""
        self._pause_ends = math.inf
        self._todo.put(None)
        if self._tracker:
            self._attempt(Tracker.leave)

    def interrupted(self) -> None:
        """For a run that a signal ends, from another thread than the run's: what is being written
        is written for as long as a moment, nothing more, and the study's own run is not left as if
        it went on, as far as MLflow answers."""
        self._pause_ends = math.inf
        self._todo.put(None)
        self._thread.join(_MOMENT)
        if self._tracker:
            with suppress(Exception):  # Whatever MLflow is in: this process ends.
                self._tracker.kill()

    def _open(self) -> Tracker:
        return open_tracker(backend.connect(), self._worklist, self._origin)

    @property
    def written(self) -> int:
        """How many runs MLflow has been given so far, failed ones included."""
        tracker = self._tracker
        return len(tracker.runs) + len(tracker.failed) if tracker else 0

    def _work(self) -> None:
        while (task := self._todo.get()) is not None:
            if time.monotonic() < self._pause_ends:
                continue  # Whoever is back catches up.
            try:
                self._attempt(task)
            except Exception as error:  # For the main thread, in the end.
                self._error = self._error or error

    def _attempt(self, task: Callable[[Tracker], T]) -> T | None:
        try:
            with explained(self._uri):
                if self._tracker is None:
                    self._tracker = self._open()
                    self._tracker.catch_up()
                return task(self._tracker)
        except UnreadableError as error:
            # Opened anew next time: what was being written is cut short, and some of it may be
            # there although its answer is not.
            self._tracker = None
            self._pause_ends = time.monotonic() + PAUSE
            self._away(str(error))
            return None

    def _away(self, why: str) -> None:
        if not self._said_away:
            self._said_away = True
            self._say(f"MLflow: {why}: what it misses is written later; all else goes on")
