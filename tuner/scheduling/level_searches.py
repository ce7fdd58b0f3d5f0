"""A study's level searches, with the transfers behind their cells."""

from collections.abc import Iterable, Iterator

from analysis.verdict.noninferiority import Margin
from search_spaces import grid
from search_spaces.grid import DENSE, TransferCell
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.scheduling.adaptive import REGIMES, Cell, LevelSearch, Result, SearchPlan
from tuner.scheduling.queue import ScheduledSearch

_UNLIMITED = 10**9


def known_result(ledger: Ledger, cells: dict[str, TransferCell], name: str) -> Result | None:
    """A transfer's result in the ledger, by its key; None if there is none."""
    transfer = cells[name].transfer
    if not ledger.has(transfer):
        return None
    test = ledger.result(transfer)["test"]
    return Result({"SA": test["sa"], "RA": test["ra"]}, ledger.correct(transfer))


def level_searches(
    study: Study, cells: dict[str, TransferCell], settle: bool
) -> Iterator[ScheduledSearch[str]]:
    """A search for each theta, pruning, dataset and fraction of the tasks that want one.

    With `settle`, searches go on beyond their budget until the verdict is settled or the seeds are
    used up.
    """
    groups: dict[tuple[str, str, float], dict[tuple[str, Cell], str]] = {}
    for name, cell in cells.items():
        if cell.optional:
            labels, place = (
                cell.labels,
                Cell(cell.ticket_cell.level, cell.regime, cell.transfer.seed),
            )
            group = str(labels["theta"]), str(labels["dataset"]), cell.transfer.fraction
            groups.setdefault(group, {})[cell.ticket_cell.pruning, place] = name
    for (theta, dataset, fraction), names in groups.items():
        for pruning in study.pruning:
            ladder = grid.ladder(study, theta, pruning, dataset, fraction)
            if ladder and _under_both_regimes(pruning, names):
                yield _search(cells, pruning, ladder, names, settle)


def _under_both_regimes(pruning: str, names: Iterable[tuple[str, Cell]]) -> bool:
    return {cell.regime for name, cell in names if name == pruning} == set(REGIMES)


def _search(
    cells: dict[str, TransferCell],
    pruning: str,
    ladder: tuple[int, ...],
    names: dict[tuple[str, Cell], str],
    settle: bool,
) -> ScheduledSearch[str]:
    task = cells[next(iter(names.values()))].task
    assert task.adaptive is not None, "its cells are optional"
    plan = SearchPlan(
        levels=ladder,
        seeds=task.all_seeds,
        first=len(task.seeds),
        budget=_UNLIMITED if settle else task.adaptive.budget,
        margin=Margin(task.margin),
    )

    def job(cell: Cell) -> str:
        return names[pruning if cell.level else DENSE, cell]

    return ScheduledSearch(LevelSearch(plan), job)
