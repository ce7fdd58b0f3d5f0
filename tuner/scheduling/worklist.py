"""What of a study is left to transfer: a schedule over the ledger."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from search_spaces import grid
from search_spaces.grid import TransferCell
from search_spaces.keys import keys
from search_spaces.spec import Transfer
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.scheduling.queue import Schedule, ScheduledSearch


@dataclass(frozen=True)
class Agenda:
    """cells: all transfers of the study by key, also those that its searches may never choose;
    complete: the keys that the ledger had; searches: for the tasks whose levels are searched for;
    schedule: hands out missing keys."""

    cells: dict[str, TransferCell]
    complete: set[str]
    searches: list[ScheduledSearch[str]]
    schedule: Schedule[str]

    @property
    def most(self) -> int:
        """The most transfers that the searches may ask for together."""
        return sum(search.search.plan.budget for search in self.searches)

    @property
    def wanted(self) -> dict[str, TransferCell]:
        """All that a complete study has, as far as its searches have asked."""
        asked = {job for search in self.searches for job in search.jobs}
        return {n: cell for n, cell in self.cells.items() if not cell.optional or n in asked}


def agenda(
    study: Study, ledger: Ledger, settle: bool = False, given_up: Collection[str] = ()
) -> Agenda:
    """What a run of the study would do: what is missing of the listed transfers, longest first, and
    its level searches, brought to where the ledger's transfers take them. With `settle`, searches
    go on beyond their budget until their verdicts are settled. given_up: keys not to try again."""
    found = grid.transfers(study)
    cells = dict(zip(keys([cell.transfer for cell in found]), found, strict=True))
    complete = ledger.keys(Transfer) & cells.keys()
    missing = {n: c for n, c in cells.items() if not c.optional and n not in complete}
    fixed, failed = _longest_first(missing), set(given_up) - complete
    if not any(task.adaptive for task in study.downstream):
        return Agenda(cells, complete, [], Schedule(fixed, failed=failed))
    from tuner.scheduling.level_searches import known_result, level_searches

    searches = list(level_searches(study, cells, settle))
    known = partial(known_result, ledger, cells)
    return Agenda(cells, complete, searches, Schedule(fixed, searches, known, failed))


def _longest_first(cells: dict[str, TransferCell]) -> list[str]:
    """Keys by falling number of passes over the data: the last trials to end are short ones."""

    def passes(name: str) -> float:
        transfer = cells[name].transfer
        return transfer.regime.passes * transfer.fraction

    return sorted(cells, key=passes, reverse=True)
