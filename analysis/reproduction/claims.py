"""Questions about the paper's claims: seen, not seen, or open; each says by which rule."""

from dataclasses import dataclass

import pandas as pd

from analysis.query import compare
from analysis.reproduction.answers import (
    IMP,
    THETAS,
    Answer,
    Held,
    Labels,
    Transferred,
    judged,
    missing,
    percent,
)
from analysis.verdict import completeness, one_std
from search_spaces.grid import DENSE
from search_spaces.levels import sparsity


@dataclass(frozen=True)
class Overlap:
    """Masks of IMP from each two thetas at a level: do they share less than `below` of the weights
    that either keeps?"""

    level: int
    below: float
    transferred = False

    def needs(self, labels: Labels) -> bool:
        return (labels["pruning"], labels["level"]) == (IMP, self.level)

    def answer(self, held: Held) -> Answer | None:
        table = held.evidence("similarity")
        if table.empty:
            return None
        own = table[(table["first_pruning"] == IMP) & (table["first_level"] == self.level)]
        if own.empty:
            return None
        shared = own["similarity"].tolist()
        text = ", ".join(f"{100 * share:.0f}" for share in shared)
        return Answer(f"{text} %", max(shared), holds=max(shared) < self.below)


@dataclass(frozen=True)
class SparserThetas(Transferred):
    """Do robust thetas give sparser double wins than the standard one, on every task?"""

    def needs(self, labels: Labels) -> bool:
        return labels["pruning"] in (DENSE, IMP) and labels["fraction"] == 1

    def answer(self, held: Held) -> Answer | None:
        rows = judged(self, held)
        found = one_std.extreme(rows).dropna(subset=["level"])
        said, seen = [], []
        for dataset, task in found.groupby("dataset", sort=False):
            by_theta = task.set_index("theta")["sparsity"]
            known = [theta for theta in THETAS if theta in by_theta]
            if "standard" not in known or len(known) < 2:
                continue
            numbers = " / ".join(f"{100 * by_theta[theta]:.2f}" for theta in known)
            said.append(f"{dataset} {numbers} %")
            seen.append(min(by_theta[known[1:]]) > by_theta["standard"])
        if not said:
            return None
        holds = all(seen) if all(seen) or not any(seen) else None
        return Answer("; ".join(said), holds=holds, missing=missing(rows))


@dataclass(frozen=True)
class Apart(Transferred):
    """Two prunings of one theta under adversarial transfer, paired by seed at every common level.

    sparser: is the first better at the sparsest one, in SA and RA, beyond the 95 % intervals?
    Otherwise: are they alike, so that no more than a tenth of all intervals excludes 0?
    """

    first: str
    second: str
    sparser: bool
    theta: str = "adversarial"

    def needs(self, labels: Labels) -> bool:
        return (
            labels["theta"] == self.theta
            and labels["pruning"] in (DENSE, self.first, self.second)
            and labels["fraction"] == 1
            and labels["regime"] == "adversarial"
        )

    def answer(self, held: Held) -> Answer | None:
        rows = _of_one_source(judged(self, held))
        first, second = (rows[rows["pruning"] == name] for name in (self.first, self.second))
        levels = sorted({*_scored(first)} & {*_scored(second)})
        if not levels:
            return None
        found = pd.concat(
            compare.tickets(first[first["level"] == k], second[second["level"] == k]).assign(at=k)
            for k in levels
        )
        absent = missing(rows)
        if self.sparser:
            last = found[found["at"] == levels[-1]]
            where = percent(float(first.loc[first["level"] == levels[-1], "sparsity"].iloc[0]))
            return Answer(f"at {where}: {_differences(last)}", holds=_above(last), missing=absent)
        tested = found.dropna(subset=["low"])
        if tested.empty:
            return None
        apart = int(((tested["low"] > 0) | (tested["high"] < 0)).sum())
        most = 100 * found["difference"].abs().max()
        text = f"at most {most:.1f} points apart; {apart} of {len(tested)} intervals exclude 0"
        share = apart / len(tested)
        holds = True if share <= 0.1 else False if share > 0.5 else None
        return Answer(text, holds=holds, missing=absent)


@dataclass(frozen=True)
class Leads(Transferred):
    """Does a theta lead the others under adversarial transfer with part of the data, in RA at a
    level of IMP, beyond the 95 % intervals of differences paired by seed?"""

    theta: str
    fraction: float
    level: int

    def needs(self, labels: Labels) -> bool:
        here = labels["fraction"], labels["level"], labels["pruning"], labels["regime"]
        return here == (self.fraction, self.level, IMP, "adversarial")

    def answer(self, held: Held) -> Answer | None:
        rows = _of_one_source(judged(self, held))
        mine, said, found = rows[rows["theta"] == self.theta], [], []
        for other in THETAS:
            theirs = rows[rows["theta"] == other]
            if other == self.theta or not ({*_scored(mine)} & {*_scored(theirs)}):
                continue
            own = compare.tickets(mine, theirs)
            own = own[own["score"] == "RA"]
            said.append(f"{_differences(own)} against {other}")
            found.append(own)
        if not found:
            return None
        where = percent(sparsity(self.level))
        text = f"at {where}: {'; '.join(said)}"
        return Answer(text, holds=_above(pd.concat(found)), missing=missing(rows))


def _of_one_source(rows: pd.DataFrame) -> pd.DataFrame:
    """Of several source seeds the first: seeds of transfers pair within one."""
    return rows.query("source_seed == source_seed.min()")


def _scored(rows: pd.DataFrame) -> set[int]:
    """The levels that have scores."""
    return set(rows.loc[~completeness.lacking(rows), "level"])


def _above(rows: pd.DataFrame) -> bool | None:
    """Are all differences shown to be above 0 (False: some below; None: open)?"""
    if (rows["high"] < 0).any():
        return False
    return True if (rows["low"] > 0).all() else None


def _differences(rows: pd.DataFrame) -> str:
    several = rows["dataset"].nunique() > 1
    return ", ".join(
        f"{row['dataset'] + ' ' if several else ''}{row['score']} {100 * row['difference']:+.1f}"
        + (
            ""
            if row["low"] != row["low"]
            else f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
        )
        for row in rows.to_dict("records")
    )
