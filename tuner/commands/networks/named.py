"""A ticket or a transfer of a study, as a command line names it."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from analysis.query import find
from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.grid import DENSE, ThetaCell, TicketCell, TransferCell
from search_spaces.spec import Ticket, Transfer
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.options import load
from tuner.runtime.settings import Origin, Settings, named

NameArg = Annotated[
    str,
    typer.Argument(
        metavar="TICKET_OR_TRANSFER",
        help="A key or a prefix of just one, THETA/PRUNING/LEVEL, or that and "
        "/DATASET/REGIME/SEED.",
    ),
]
StudyOpt = Annotated[str, typer.Option(help="A shipped study's name, or a path to a .yaml file.")]


@dataclass(frozen=True)
class Named:
    """cell: the study's, under the study's names; path: what it goes by; dense: of a transfer, that
    of the whole network by the same theta, task, regime and seed."""

    study: Study
    ledger: Ledger
    cell: TicketCell | TransferCell
    path: str
    dense: TransferCell | None = None

    @property
    def spec(self) -> Ticket | Transfer:
        return self.cell.ticket if isinstance(self.cell, TicketCell) else self.cell.transfer

    @property
    def key(self) -> str:
        return self.cell.key

    @property
    def ticket_cell(self) -> TicketCell:
        return self.cell if isinstance(self.cell, TicketCell) else self.cell.ticket_cell

    @property
    def labels(self) -> dict[str, Any]:
        """The columns that tell it from others: a transfer's; a ticket's, as far as it has them."""
        if isinstance(self.cell, TransferCell):
            return dict(self.cell.labels)
        cell = self.cell
        labels = {"theta": cell.pretraining, "pruning": cell.pruning, "level": cell.level}
        return {**labels, "sparsity": cell.sparsity, "source_seed": cell.ticket.theta.seed}


def resolve(name: str, origin: Origin, settings: Settings) -> Named:
    """What `name` means. Raises InputError where it is not of the study, or not in the storage."""
    study, ledger = load(origin, settings.data), Ledger(settings.storage.resolve())
    transfers = {cell.key: cell for cell in grid.transfers(study)}
    _, cell = find.find(name, study, transfers)
    if isinstance(cell, ThetaCell):
        cell = cell.dense
    if isinstance(cell, TransferCell):
        found = Named(study, ledger, cell, find.transfer_path(cell), _dense(cell, transfers))
    else:
        found = Named(study, ledger, cell, find.path(cell))
    held = found.spec if isinstance(cell, TransferCell) or cell.level else cell.ticket.theta
    if not ledger.has(held):
        raise InputError(
            f"{found.path}: is not in {settings.storage} yet: run it first: "
            f"python -m tuner run {named(origin, settings)}"
        )
    return found


def _dense(of: TransferCell, transfers: dict[str, TransferCell]) -> TransferCell | None:
    """The transfer of the whole network that a sparse one is held against."""
    labels = {**of.labels, "pruning": DENSE, "level": 0, "sparsity": 0.0}
    return next((cell for cell in transfers.values() if cell.labels == labels), None)
