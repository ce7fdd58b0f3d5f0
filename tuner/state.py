"""What of a study the ledger holds: counts for people, scores for the verdict."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces import grid
from search_spaces.study import Study
from trainables.ledger import Ledger
from tuner.agenda import Agenda

if TYPE_CHECKING:
    import pandas as pd

    from analysis.records import Correct


@dataclass(frozen=True)
class Row:
    """One line of a plan: a kind of work, how much of it there is, and how much is done."""

    stage: str
    what: str
    total: int
    complete: int


def rows(study: Study, agenda: Agenda, ledger: Ledger) -> list[Row]:
    """The work of a study: thetas, tickets by theta and pruning, transfers by data and regime; of
    searches, what they have asked for so far."""
    total: Counter[tuple[str, str]] = Counter()
    complete: Counter[tuple[str, str]] = Counter()
    work = [
        *((("pre-training", c.pretraining), c.theta) for c in grid.thetas(study)),
        *((("tickets", f"{c.pretraining} {c.pruning}"), c.ticket) for c in grid.tickets(study)),
        *((("transfers", _task(c)), c.transfer) for c in agenda.wanted),
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
    search = " (search)" if cell.optional else ""
    return f"{transfer.dataset.title}{part} {cell.regime}{search}"


def table(agenda: Agenda, ledger: Ledger) -> "tuple[pd.DataFrame, Correct]":
    """(a row for every transfer with its labels, key, state, SA and RA in [0, 1]; which test images
    each gets right). Transfers that the ledger lacks have NaN scores, so that a verdict names them;
    those that a search has not asked for have no row."""
    import pandas as pd

    wanted = {cell.key for cell in agenda.wanted}
    records, correct = [], {}
    for name, cell in agenda.cells.items():
        scores: dict[str, object] = {"state": "missing", "SA": None, "RA": None}
        if ledger.has(cell.transfer):
            result = ledger.result(cell.transfer)
            test = result["test"]
            scores = {"state": result["state"], "SA": test["sa"], "RA": test["ra"]}
            correct[name] = ledger.correct(cell.transfer)
        elif name not in wanted:
            continue
        records.append({**cell.labels, "key": name, **scores})
    return pd.DataFrame(records).astype({"SA": float, "RA": float}), correct
