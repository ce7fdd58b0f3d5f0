"""What to train next: fixed jobs and level searches, interleaved so that the machine stays full."""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    # Statistics are loaded by what searches, not by what only counts.
    from tuner.scheduling.adaptive import Cell, LevelSearch, Result

Job = TypeVar("Job", bound=Hashable)


@dataclass(frozen=True)
class ScheduledSearch(Generic[Job]):
    """A level search, and the job behind each of its cells. Searches may share jobs."""

    search: "LevelSearch"
    job: "Callable[[Cell], Job]"

    @property
    def jobs(self) -> list[Job]:
        """All that it has asked for so far."""
        return [self.job(cell) for cell in self.search.asked]


class Queue(Generic[Job]):
    """Hands out jobs, each once. Searches wait for their batches, fixed jobs fill the gaps.

    known: the result of a job that is done, or None; failed: jobs that are not to be handed out,
    as if they had been and had failed.
    """

    def __init__(
        self,
        fixed: Iterable[Job],
        searches: Sequence[ScheduledSearch[Job]] = (),
        known: "Callable[[Job], Result | None]" = lambda job: None,
        failed: Collection[Job] = (),
    ) -> None:
        self._fixed = OrderedDict.fromkeys(job for job in fixed if job not in failed)
        self._urgent: deque[Job] = deque()
        self.known = known
        self._ended: dict[Job, Result | None] = dict.fromkeys(failed)
        self._waiting: dict[Job, list[tuple[ScheduledSearch[Job], Cell]]] = {}
        self._left = {id(search): 0 for search in searches}
        for search in searches:
            self._proceed(search)

    @property
    def left(self) -> int:
        """How many jobs are handed out or waiting to be, as far as is known now."""
        return len(self._fixed) + len(self._waiting)

    @property
    def over(self) -> bool:
        """Has every job been handed out and ended?"""
        return not (self._fixed or self._urgent or self._waiting)

    def open(self, search: ScheduledSearch[Job]) -> bool:
        """Does a search wait for results, after which it may ask for more?"""
        return self._left[id(search)] > 0

    def next(self, ready: Callable[[Job], bool] = lambda job: True) -> Job | None:
        """A job to start now, of those that are ready; None if there is none before another one
        ends or becomes ready."""
        if (job := next(filter(ready, self._urgent), None)) is not None:
            self._urgent.remove(job)
        elif (job := next(filter(ready, self._fixed), None)) is not None:
            del self._fixed[job]
            self._waiting[job] = []
        return job

    def ended(self, job: Job, result: "Result | None") -> None:
        """A job that was handed out has ended; with None, in failure."""
        self._ended[job] = result
        for search, cell in self._waiting.pop(job):
            search.search.tell(cell, result)
            self._left[id(search)] -= 1
            if not self._left[id(search)]:
                self._proceed(search)

    def _proceed(self, search: ScheduledSearch[Job]) -> None:
        """Asks for batches until one has something left to train, or the search is over."""
        while not self._left[id(search)] and (batch := search.search.ask()):
            for cell in batch:
                self._place(search, cell)

    def _place(self, search: ScheduledSearch[Job], cell: "Cell") -> None:
        job = search.job(cell)
        if job in self._ended:
            search.search.tell(cell, self._ended[job])
        elif job in self._waiting:
            self._waiting[job].append((search, cell))
            self._left[id(search)] += 1
        elif (result := self.known(job)) is not None:
            search.search.tell(cell, result)
        else:
            self._waiting[job] = [(search, cell)]
            self._urgent.append(job)
            self._fixed.pop(job, None)
            self._left[id(search)] += 1
