"""What a storage holds of a study: scores, verdict, figures, and the tickets themselves."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from analysis.query import find
from analysis.tables.verdict import sentences
from analysis.verdict.flags import verdicts
from analysis.verdict.results import Results as Scores
from search_spaces.errors import InputError
from search_spaces.grid import TicketCell, TransferCell
from search_spaces.spec import Theta, Ticket
from tuner.scheduling.worklist import Worklist
from tuner.stages.conclusion import flags_of
from tuner.storage import state

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn


EPOCHS = {
    "key": "str",
    "number": "int64",
    **dict.fromkeys(("loss", "accuracy", "lr", "seconds", "val_SA", "val_RA"), "float64"),
}
"""The columns of `Results.epochs`."""


@dataclass(frozen=True)
class Results:
    """A study's results as they were when they were asked for."""

    work: Worklist

    @cached_property
    def _results(self) -> Scores:
        return state.results(self.work)

    @cached_property
    def _flags(self) -> pd.DataFrame:
        return flags_of(self.work)

    @cached_property
    def _verdicts(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return verdicts(self._results, self._flags)

    @property
    def complete(self) -> bool:
        """Is everything there that the study asks for?"""
        return self.work.over and self._results.missing.empty

    @property
    def table(self) -> pd.DataFrame:
        """A row for each transfer that has ended: theta, pruning, level, sparsity (a share),
        dataset, fraction, regime, seeds, and its test scores SA and RA, shares in [0, 1]
        (`analysis.verdict.results`)."""
        return self._results.table

    @property
    def missing(self) -> pd.DataFrame:
        """The transfers that are not there yet."""
        return self._results.missing

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row for each epoch of each of these transfers: `key` as in the table; `number` from 1;
        `loss` and `accuracy` on training images, attacked where it trains so; `lr`; `seconds`;
        `val_SA` and `val_RA`, shares in [0, 1], where it was validated."""
        cells, ledger = self.work.grid.transfers, self.work.ledger
        rows = [
            {"key": key, **record, **{f"val_{n.upper()}": v for n, v in val.items()}}
            for key in self.table["key"]
            for record in ledger.result(cells[key].transfer)["epochs"]
            for val in [record.get("val", {})]
        ]
        return pd.DataFrame(rows, columns=list(EPOCHS)).astype(EPOCHS)

    def verdict(self) -> str:
        """A sentence for each theta and task: how much of it can go, and what is open; empty where
        there is nothing to judge yet."""
        extreme, shown = self._verdicts
        judged = not extreme.empty and bool(extreme["levels_complete"].any())
        return "\n".join(sentences(extreme, shown)) if judged else ""

    def extreme(self, rule: str = "non-inferiority") -> pd.DataFrame:
        """The extreme double-win sparsity of each theta, pruning and task with all that is behind
        it: by confidence bounds ("non-inferiority") or as the paper has it ("one-std").

        Raises InputError for another rule."""
        by_rule = dict(zip(("one-std", "non-inferiority"), self._verdicts, strict=True))
        if rule not in by_rule:
            raise InputError(f"rule {rule}: unknown: one of {', '.join(by_rule)}")
        return by_rule[rule]

    def figure(
        self, name: str = "fig3", level: int | None = None, width: float | None = None
    ) -> "Figure":
        """A figure of the paper over the scores: fig3, fig4, fig5 or a10, `width` inches wide, a10
        at a level.

        Raises InputError for another name, or if there is nothing to draw."""
        from analysis.figures import named, style

        if name not in named.OVER_SCORES:
            raise InputError(f"figure {name}: unknown: one of {', '.join(named.OVER_SCORES)}")
        _, drawn = named.over_scores(name, self._results, self._flags, level)
        if width is not None:
            style.resize(drawn, width)
        return drawn

    @property
    def tickets(self) -> list[str]:
        """Names of the networks that are there, as `ticket` takes them: theta/pruning/level."""
        return [name for name, cell in self._cells.items() if self.work.ledger.has(_spec(cell))]

    def ticket(self, name: str) -> "nn.Module":
        """A network before its transfer: theta, or a ticket's weights under its mask, with the
        source task's head, in evaluation mode on the CPU. It takes images in [0, 1], N x C x H x W.

        Raises InputError if there is none of that name."""
        from trainables.export.taken import take

        if name not in self.tickets:
            known = ", ".join(self.tickets) or "none yet"
            raise InputError(f"ticket {name}: not there: {known}")
        return take(self._cells[name].ticket, self.work.ledger).net

    def network(self, name: str) -> "nn.Module":
        """The network that a transfer ended in, named theta/pruning/level/data set/regime/seed or
        by its key, in evaluation mode on the CPU, of the same images as `ticket`'s.

        Raises InputError if there is none of that name, or its weights were not kept."""
        from trainables.export.taken import take

        _, cell = find.find(name, self.work.study, self.work.grid.transfers)
        if not isinstance(cell, TransferCell) or not self.work.ledger.has(cell.transfer):
            raise InputError(f"{name}: is no transfer that has ended: see table")
        return take(cell.transfer, self.work.ledger).net

    @cached_property
    def _cells(self) -> dict[str, TicketCell]:
        of = self.work.grid
        dense = {f"{cell.name}/dense/0": cell.dense for cell in of.thetas.values()}
        pruned = {
            f"{cell.theta_cell.name}/{cell.pruning}/{cell.level}": cell
            for cell in of.tickets.values()
            if not cell.replicate
        }
        return dense | pruned


def _spec(cell: TicketCell) -> Theta | Ticket:
    """What a network's result is stored under: a dense one's is its theta's."""
    return cell.ticket if cell.level else cell.ticket.theta
