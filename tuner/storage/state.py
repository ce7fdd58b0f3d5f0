"""What of a study the ledger holds: counts for people, scores for the verdict."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces import grid
from search_spaces.searches.spaces import Point
from search_spaces.spec import Theta, Ticket, Transfer
from search_spaces.study import Study
from search_spaces.trials import Trial, point_of
from trainables.store.ledger import Ledger
from tuner.scheduling.worklist import Worklist
from tuner.storage.entries import summary

if TYPE_CHECKING:
    from analysis.verdict.results import Results


@dataclass(frozen=True)
class WorkCount:
    """One line of a plan: a kind of work, how much of it there is, and how much is done."""

    stage: str
    what: str
    total: int
    complete: int


Cell = grid.ThetaCell | grid.TicketCell | grid.TransferCell


def spec(cell: Cell) -> Theta | Ticket | Transfer:
    """What a cell's result is stored under."""
    match cell:
        case grid.ThetaCell():
            return cell.theta
        case grid.TicketCell():
            return cell.ticket
    return cell.transfer


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


def results(work: Worklist) -> "Results":
    """The transfers of a study as the ledger has them. Of levels that are searched for, what their
    searches have asked for, and what is there beyond that."""
    from analysis.verdict.results import Results, frame, row

    wanted, ledger = work.wanted, work.ledger
    rows, correct = [], {}
    for name, cell in work.grid.transfers.items():
        if name in work.complete:
            result = ledger.result(cell.transfer)
            rows.append(row(cell.labels, name, result["state"], summary(result)))
            if (right := ledger.correct(cell.transfer)) is not None:
                correct[name] = right
        elif name in wanted:
            rows.append(row(cell.labels, name))
    return Results(work.study, frame(rows), correct)


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
    finished = []
    for trial in ledger.all(Trial):
        point = point_of(study, trial)
        if point is not None:
            finished.append(Finished(point, trial, ledger.result(trial)))
    return sorted(finished, key=lambda each: each.result["ended"])
