"""What a study asks for and what of it is left: expanded once a command, and handed down."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

from search_spaces import grid
from search_spaces.grid import Grid, TransferCell
from search_spaces.spec import Theta, Ticket, Transfer
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.scheduling.queue import Queue, ScheduledSearch


@dataclass(frozen=True)
class Worklist:
    """A study held against a ledger.

    grid: all of the study by content key; complete: the keys of it that the ledger had; searches:
    of the tasks whose levels are searched for, brought to where the ledger's transfers take them;
    queue: hands out the keys of missing transfers; settle: see `worklist`.
    """

    study: Study
    ledger: Ledger
    grid: Grid
    complete: frozenset[str]
    searches: list[ScheduledSearch[str]]
    queue: Queue[str]
    settle: bool = False

    @property
    def most(self) -> int:
        """The most transfers that the searches may ask for together."""
        return sum(search.search.plan.budget for search in self.searches)

    @property
    def wanted(self) -> dict[str, TransferCell]:
        """The transfers that a complete study has, as far as its searches have asked."""
        asked = {job for search in self.searches for job in search.jobs}
        transfers = self.grid.transfers.items()
        return {name: cell for name, cell in transfers if not cell.optional or name in asked}

    @property
    def finished(self) -> list[Theta | Ticket | Transfer]:
        """The specs of all that the ledger had."""
        transfers = {name: cell.transfer for name, cell in self.grid.transfers.items()}
        specs = {**self.grid.sources, **transfers}
        return [spec for name, spec in specs.items() if name in self.complete]

    @property
    def over(self) -> bool:
        """Is everything there?"""
        return self.queue.over and self.grid.sources.keys() <= self.complete

    def refreshed(self, given_up: Collection[str] = ()) -> "Worklist":
        """The same study against what the ledger has now. given_up: keys not to try again."""
        complete = _complete(self.grid, self.ledger)
        searches, queue = _scheduled(self, complete, given_up)
        return replace(self, complete=complete, searches=searches, queue=queue)


def worklist(study: Study, ledger: Ledger, settle: bool = False) -> Worklist:
    """A study expanded, against what the ledger has. With `settle`, its level searches go on until
    their verdicts are settled, whatever their budgets."""
    bare = Worklist(study, ledger, grid.expand(study), frozenset(), [], Queue(()), settle)
    return bare.refreshed()


def _complete(of: Grid, ledger: Ledger) -> frozenset[str]:
    kinds = ((Theta, of.thetas), (Ticket, of.tickets), (Transfer, of.transfers))
    return frozenset().union(*(ledger.keys(kind) & cells.keys() for kind, cells in kinds))


def _scheduled(
    work: Worklist, complete: Collection[str], given_up: Collection[str]
) -> tuple[list[ScheduledSearch[str]], Queue[str]]:
    """The level searches, and the queue of what they and the study's grid lack."""
    cells = work.grid.transfers
    missing = {n: cell for n, cell in cells.items() if not cell.optional and n not in complete}
    fixed, failed = _longest_first(missing), set(given_up) - set(complete)
    if not any(task.adaptive for task in work.study.downstream):
        return [], Queue(fixed, failed=failed)
    from tuner.scheduling.level_searches import known_result, level_searches

    searches = list(level_searches(work.study, cells, work.settle))
    known = partial(known_result, work.ledger, cells)
    return searches, Queue(fixed, searches, known, failed)


def _longest_first(cells: Mapping[str, TransferCell]) -> list[str]:
    """Keys by falling number of passes over the data: the last trials to end are short ones."""

    def passes(name: str) -> float:
        transfer = cells[name].transfer
        return transfer.regime.passes * transfer.fraction

    return sorted(cells, key=passes, reverse=True)
