"""What is left of a study, as kinds of training, and what finished ones of these kinds took."""

import socket
from collections import Counter, defaultdict
from statistics import fmean
from typing import NamedTuple

from search_spaces.errors import InputError
from search_spaces.grid import ThetaCell, TicketCell
from search_spaces.spec import Theta, Ticket
from trainables.estimate.steps import Training, training
from tuner.scheduling.worklist import Worklist
from tuner.storage.entries import seconds
from tuner.storage.keeping import judged_only
from tuner.storage.state import Cell, pieces, spec, transfer_kind

# Finished results that are read of each kind.
_ENOUGH = 20


class Piece(NamedTuple):
    """Equal work: the stage and the kind that people see it under, the chain that does it (None of
    transfers, which wait for nobody), the training behind each result (None: none to speak of), and
    whether each holds a network's weights."""

    stage: str
    what: str
    chain: str | None
    training: Training | None
    weights: bool = False


def left(work: Worklist) -> Counter[Piece]:
    """The results that a study lacks. Searches of levels count as if they used up their budgets."""
    missing: Counter[Piece] = Counter()
    judged = judged_only(work)
    for (stage, what), cell, done in pieces(work):
        if not done:
            made = spec(cell)
            holds = isinstance(made, Theta) or (isinstance(made, Ticket) and made.start is made)
            kind = training(made)
            if kind is not None and cell.key in judged:
                kind = kind._replace(regime=None)
            missing[Piece(stage, what, _chain(cell), kind, holds)] += 1
    return missing + _to_come(work)


def _chain(cell: Cell) -> str | None:
    match cell:
        case ThetaCell():
            return cell.name
        case TicketCell():
            return cell.theta_cell.name
    return None


def _to_come(work: Worklist) -> Counter[Piece]:
    """What open searches may still ask for: as much of each kind that they have asked for."""
    asked: Counter[Piece] = Counter()
    for search in filter(work.queue.open, work.searches):
        cells = [work.grid.transfers[job] for job in search.jobs]
        kinds = {
            Piece("transfers", transfer_kind(c), None, training(c.transfer)): None for c in cells
        }
        more = search.search.plan.budget - len(cells)
        for place, piece in enumerate(kinds):
            asked[piece] += more // len(kinds) + (place < more % len(kinds))
    return asked


def finished(work: Worklist, device: str) -> dict[Training, float]:
    """Mean seconds of the study's finished results by kind, of those made on this host's devices
    of a kind."""
    taken: defaultdict[Training, list[float]] = defaultdict(list)
    host = socket.gethostname()
    for _, cell, done in pieces(work):
        kind = training(spec(cell)) if done else None
        if kind is None or len(taken[kind]) >= _ENOUGH:
            continue
        try:
            result = work.ledger.result(spec(cell))
            if (result["host"], result["device"]) == (host, device):
                taken[kind].append(seconds(result))
        except (InputError, OSError, KeyError, TypeError):
            continue  # What is damaged, or another version wrote, says nothing here.
    return {kind: fmean(times) for kind, times in taken.items() if times}
