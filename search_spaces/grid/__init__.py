"""A study expanded: its cells, and the list of everything it trains. May use: keys, levels,
prunings, regimes, spec, finished, study."""

from search_spaces.grid.cells import DENSE, Place, ThetaCell, TicketCell, TransferCell
from search_spaces.grid.expansion import (
    Grid,
    expand,
    first_seeds,
    ladder,
    margin,
    surrogates,
    thetas,
    tickets,
    transfers,
)

__all__ = [
    "DENSE",
    "Grid",
    "Place",
    "ThetaCell",
    "TicketCell",
    "TransferCell",
    "expand",
    "first_seeds",
    "ladder",
    "margin",
    "surrogates",
    "thetas",
    "tickets",
    "transfers",
]
