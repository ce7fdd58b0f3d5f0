"""What of a study the ledger holds: counts for people, scores for the verdict."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces import grid
from search_spaces.study import Study
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


@dataclass(frozen=True)
class Standing:
    """Everything of a study, each with whether the ledger has it."""

    thetas: list[tuple[grid.ThetaCell, bool]]
    tickets: list[tuple[grid.TicketCell, bool]]
    transfers: list[tuple[grid.TransferCell, bool]]


def standing(study: Study, ledger: Ledger) -> Standing:
    """Where a study stands. Keys are what it costs: they are computed here, once."""
    return Standing(
        [(cell, ledger.has(cell.theta)) for cell in grid.thetas(study)],
        [(cell, ledger.has(cell.ticket)) for cell in grid.tickets(study)],
        [(cell, ledger.has(cell.transfer)) for cell in grid.transfers(study)],
    )


def rows(stands: Standing) -> list[Row]:
    """The work of a study: thetas, tickets by theta and pruning, transfers by data and regime."""
    total: Counter[tuple[str, str]] = Counter()
    complete: Counter[tuple[str, str]] = Counter()
    work = [
        *((("pre-training", c.pretraining), done) for c, done in stands.thetas),
        *((("tickets", f"{c.pretraining} {c.pruning}"), done) for c, done in stands.tickets),
        *((("transfers", _task(c)), done) for c, done in stands.transfers),
    ]
    for line, done in work:
        total[line] += 1
        complete[line] += done
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
