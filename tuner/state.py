"""What of a study the ledger holds: counts for people, scores for the verdict."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces import grid
from search_spaces import trials as searches
from search_spaces.spaces import Point
from search_spaces.study import Study
from search_spaces.trials import Trial
from trainables.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One line of a plan: a kind of work, how much of it there is, and how much is done."""

    stage: str
    what: str
    total: int
    complete: int


def rows(study: Study, ledger: Ledger) -> list[Row]:
    """The work of a study: thetas, tickets by theta and pruning, transfers by data and regime."""
    total: Counter[tuple[str, str]] = Counter()
    complete: Counter[tuple[str, str]] = Counter()
    work = [
        *((("pre-training", c.pretraining), c.theta) for c in grid.thetas(study)),
        *((("tickets", f"{c.pretraining} {c.pruning}"), c.ticket) for c in grid.tickets(study)),
        *((("transfers", _task(c)), c.transfer) for c in grid.transfers(study)),
    ]
    for line, spec in work:
        total[line] += 1
        complete[line] += ledger.has(spec)
    return [
        Row(stage, what, count, complete[stage, what]) for (stage, what), count in total.items()
    ]


def _task(cell: grid.TransferCell) -> str:
    transfer = cell.transfer
    part = "" if transfer.fraction == 1 else f" {100 * transfer.fraction:g} % of the data"
    return f"{transfer.dataset.title}{part} {cell.regime}"


def table(study: Study, ledger: Ledger) -> "pd.DataFrame":
    """A row for every transfer of the study with its labels, state, SA and RA in [0, 1].

    Transfers that the ledger lacks have NaN scores, so that a verdict names them.
    """
    import pandas as pd

    records = []
    for cell in grid.transfers(study):
        scores: dict[str, object] = {"state": "missing", "SA": None, "RA": None}
        if ledger.has(cell.transfer):
            result = ledger.result(cell.transfer)
            test = result["test"]
            scores = {"state": result["state"], "SA": test["sa"], "RA": test["ra"]}
        records.append({**cell.labels, **scores})
    return pd.DataFrame(records).astype({"SA": float, "RA": float})


@dataclass(frozen=True)
class Finished:
    """A trial of a search that the ledger holds, and the point of the space that it tried."""

    point: Point
    trial: Trial
    result: dict[str, Any]


def trials(study: Study, ledger: Ledger) -> list[Finished]:
    """Every finished trial of the study's search, in the order in which they ended.

    The ledger does not know of searches: a trial belongs to every search whose space holds it, so
    a search that is widened, or taken up with another sampler, keeps what it has.
    """
    found = []
    for trial in ledger.all(Trial):
        point = searches.point_of(study, trial)
        if point is not None:
            found.append(Finished(point, trial, ledger.result(trial)))
    return sorted(found, key=lambda finished: finished.result["ended"])
