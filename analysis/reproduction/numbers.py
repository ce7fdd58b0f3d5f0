"""Questions about the paper's figures and tables: numbers, and whether what is drawn is there."""

from dataclasses import dataclass

import pandas as pd

from analysis.reproduction.answers import (
    IMP,
    THETAS,
    Answer,
    Held,
    Labels,
    Transferred,
    judged,
    missing,
    needed,
    percent,
)
from analysis.verdict import one_std
from search_spaces.grid import DENSE


@dataclass(frozen=True)
class Extreme(Transferred):
    """The largest double-win sparsity of a theta and a pruning on a data set, by the paper's rule,
    with all data."""

    dataset: str
    theta: str
    pruning: str = IMP

    def needs(self, labels: Labels) -> bool:
        return (
            labels["dataset"] == self.dataset
            and labels["fraction"] == 1
            and labels["theta"] == self.theta
            and labels["pruning"] in (DENSE, self.pruning)
        )

    def answer(self, held: Held) -> Answer | None:
        rows = judged(self, held)
        found = one_std.extreme(rows)
        if found.empty or found["level"].isna().all():
            return None
        value = float(found["sparsity"].iloc[0])
        return Answer(percent(value), value, missing=missing(rows))


@dataclass(frozen=True)
class TransferAttack(Transferred):
    """Robust accuracy under images attacked on another network, at a level of IMP."""

    dataset: str
    theta: str
    level: int

    def needs(self, labels: Labels) -> bool:
        return (
            labels["dataset"] == self.dataset
            and labels["fraction"] == 1
            and (labels["theta"], labels["level"]) == (self.theta, self.level)
            and labels["pruning"] in (DENSE, IMP)
            and labels["regime"] == "adversarial"
        )

    def answer(self, held: Held) -> Answer | None:
        keys = needed(self, held)["key"]
        found = [held.metrics.get(key, {}).get("RA_transfer_attack") for key in keys]
        scores = pd.Series([score for score in found if score is not None], dtype=float)
        if scores.empty:
            return None
        value = float(scores.mean())
        return Answer(f"{100 * value:.1f} %", value, missing=len(keys) - len(scores))


@dataclass(frozen=True)
class Panels(Transferred):
    """All that a figure or a table over sparsity is made of. command: what shows it."""

    command: str
    datasets: tuple[str, ...]
    prunings: tuple[str, ...] = (IMP,)
    thetas: tuple[str, ...] = THETAS
    few: bool = False

    def needs(self, labels: Labels) -> bool:
        return (
            labels["dataset"] in self.datasets
            and labels["theta"] in self.thetas
            and labels["pruning"] in (DENSE, *self.prunings)
            and (labels["fraction"] < 1) == self.few
        )

    def answer(self, held: Held) -> Answer | None:
        rows = needed(self, held)
        absent, there = missing(rows), set(rows["dataset"])
        if absent == len(rows) or not there >= set(self.datasets):
            return None
        return Answer(f"python -m analysis {self.command}", missing=absent)


@dataclass(frozen=True)
class Drawn:
    """What evidence draws. table: where it is; transferred: of trained networks, or of masks?"""

    command: str
    table: str
    transferred: bool

    def needs(self, labels: Labels) -> bool:
        return labels["pruning"] in (DENSE, IMP) and labels["fraction"] == 1

    def answer(self, held: Held) -> Answer | None:
        if held.evidence(self.table).empty:
            return None
        return Answer(f"python -m analysis {self.command}")
