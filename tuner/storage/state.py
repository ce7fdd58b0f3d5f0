"""What of a study the ledger holds: counts for people, scores for the verdict."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces import grid
from search_spaces import trials as searches
from search_spaces.searches.spaces import Point
from search_spaces.study import Study
from search_spaces.trials import Trial
from trainables.store.ledger import Ledger
from tuner.scheduling.worklist import Worklist

if TYPE_CHECKING:
    import pandas as pd

    from analysis.verdict.records import Correct


@dataclass(frozen=True)
class WorkCount:
    """One line of a plan: a kind of work, how much of it there is, and how much is done."""

    stage: str
    what: str
    total: int
    complete: int


Cell = grid.ThetaCell | grid.TicketCell | grid.TransferCell


def pieces(work: Worklist) -> Iterator[tuple[tuple[str, str], Cell, bool]]:
    """(stage and what kind of work, cell, is it done?) of everything of a study: thetas, tickets by
    theta and pruning, transfers by data and regime; of its level searches, what they have asked for
    so far."""
    of, done = work.grid, work.complete
    for name, theta in of.thetas.items():
        yield ("pre-training", theta.pretraining), theta, name in done
    for name, ticket in of.tickets.items():
        yield ("tickets", f"{ticket.pretraining} {ticket.pruning}"), ticket, name in done
    for name, transfer in work.wanted.items():
        yield ("transfers", transfer_kind(transfer)), transfer, name in done


def counts(work: Worklist) -> list[WorkCount]:
    """The work of a study, counted."""
    total: Counter[tuple[str, str]] = Counter()
    complete: Counter[tuple[str, str]] = Counter()
    for line, _, done in pieces(work):
        total[line] += 1
        complete[line] += done
    return [
        WorkCount(stage, what, count, complete[stage, what])
        for (stage, what), count in total.items()
    ]


def transfer_kind(cell: grid.TransferCell) -> str:
    """A transfer's data and regime, for people."""
    transfer = cell.transfer
    part = "" if transfer.fraction == 1 else f"{100 * transfer.fraction:g} % of "
    search = " (search)" if cell.optional else ""
    return f"{part}{transfer.dataset.title} {cell.regime}{search}"


def table(work: Worklist) -> "tuple[pd.DataFrame, Correct]":
    """(a row for every transfer with its labels, key, state, SA and RA in [0, 1]; which test images
    each gets right). Transfers that the ledger lacks have NaN scores, so that a verdict names them;
    those that a search has not asked for have no row."""
    import pandas as pd

    wanted, ledger = work.wanted, work.ledger
    records, correct = [], {}
    for name, cell in work.grid.transfers.items():
        scores: dict[str, object] = {"state": "missing", "SA": None, "RA": None}
        if name in work.complete:
            result = ledger.result(cell.transfer)
            test = result["test"]
            scores |= {"state": result["state"], "SA": test["sa"], "RA": test["ra"]}
            correct[name] = ledger.correct(cell.transfer)
        elif name not in wanted:
            continue
        records.append({**cell.labels, "key": name, **scores})
    return pd.DataFrame(records).astype({"SA": float, "RA": float}), correct


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
