"""A study's pre-trainings, tickets and transfers under the names that it gives them."""

from dataclasses import dataclass, field
from functools import cached_property

from search_spaces.finished.weights import weights
from search_spaces.keys import key
from search_spaces.levels import sparsity
from search_spaces.prunings import Pruning
from search_spaces.regimes import RegimeName
from search_spaces.spec import Theta, Ticket, Transfer
from search_spaces.study import Downstream

DENSE = "dense"
Place = tuple[str, str, str, float, int]
"""Theta, pruning, data set, data fraction, level: a ticket, and the task it is transferred to."""


@dataclass(frozen=True)
class ThetaCell:
    """A pre-training of a study under the name the study gives it, or a network that it trains for
    a check. first: is it that of the first source seed?"""

    pretraining: str
    theta: Theta
    first: bool = True

    @cached_property
    def key(self) -> str:
        return key(self.theta)

    @property
    def name(self) -> str:
        """What the theta is called: a further source seed is named behind an @."""
        return self.pretraining if self.first else f"{self.pretraining}@{self.theta.seed}"

    @property
    def dense(self) -> "TicketCell":
        """The whole network, as a ticket."""
        return self.ticket(DENSE, None, 0)

    def ticket(
        self, name: str, pruning: Pruning | None, level: int, replicate: int | None = None
    ) -> "TicketCell":
        """A ticket that rewinds to this theta."""
        ticket = Ticket(theta=self.theta, pruning=pruning, level=level)
        return TicketCell(self, name, ticket, replicate)


@dataclass(frozen=True)
class TicketCell:
    """A ticket of a study under the study's names for its parts.

    replicate: the seed of the transfers that start from it, where a random mask is drawn for each;
    None where all do.
    """

    theta_cell: ThetaCell
    pruning: str
    ticket: Ticket
    replicate: int | None = None

    @cached_property
    def key(self) -> str:
        return key(self.ticket)

    @property
    def pretraining(self) -> str:
        return self.theta_cell.pretraining

    @property
    def level(self) -> int:
        return self.ticket.level

    @property
    def place(self) -> tuple[str, str, int]:
        """Theta, pruning and level: what tables know it by, with those of its other seeds."""
        return self.pretraining, self.pruning, self.level

    @property
    def sparsity(self) -> float:
        """Nominal sparsity in [0, 1)."""
        pruning = self.ticket.pruning
        return sparsity(self.level, pruning.rate) if pruning else 0.0


@dataclass(frozen=True)
class TransferCell:
    """A transfer of a study under the study's names for its parts."""

    ticket_cell: TicketCell
    regime: RegimeName
    transfer: Transfer
    task: Downstream = field(repr=False, compare=False)

    @cached_property
    def key(self) -> str:
        return key(self.transfer)

    @cached_property
    def weights_key(self) -> str:
        """What the weights that it ends in are kept under."""
        return key(weights(self.transfer))

    @property
    def place(self) -> Place:
        """Its ticket, and the task that it is transferred to."""
        cell, transfer = self.ticket_cell, self.transfer
        return *cell.place[:2], transfer.dataset.title, transfer.fraction, cell.level

    @property
    def optional(self) -> bool:
        """Does a search decide whether it is trained?"""
        return self.task.adaptive is not None

    @property
    def labels(self) -> dict[str, str | int | float]:
        """The columns that tell this transfer from the study's others."""
        cell = self.ticket_cell
        return {
            "theta": cell.pretraining,
            "pruning": cell.pruning,
            "level": cell.level,
            "sparsity": cell.sparsity,
            "dataset": self.transfer.dataset.title,
            "fraction": self.transfer.fraction,
            "regime": self.regime,
            "source_seed": cell.ticket.theta.seed,
            "seed": self.transfer.seed,
        }
