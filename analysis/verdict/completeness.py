"""What a verdict lacks: transfers that a study asks for and that have no scores (yet)."""

from typing import Any

import pandas as pd

from analysis.verdict.one_std import GROUP, METRICS, groups


def lacking(rows: pd.DataFrame) -> pd.Series:
    """Which rows of a table of transfers miss a score that a verdict reads: bool, a value a row."""
    lacks = pd.Series(False, index=rows.index)
    for metric in METRICS:
        lacks |= (rows["regime"] == metric.regime) & rows[metric.score].isna()
    return lacks


def counted(verdict: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """A verdict with the columns `missing` and `transfers`: of how many transfers, the dense
    network's included, each of its rows is made, and how many of them are missing."""
    counts: dict[tuple[Any, ...], tuple[int, int]] = {}
    for labels, dense, pruned in groups(table):
        missing = int(lacking(dense).sum() + lacking(pruned).sum())
        counts[tuple(labels.values())] = missing, len(dense) + len(pruned)
    found = [counts[group] for group in verdict[GROUP].itertuples(index=False, name=None)]
    return verdict.assign(missing=[n for n, _ in found], transfers=[n for _, n in found])


def lines(table: pd.DataFrame, failed: int = 0) -> list[str]:
    """What to say above verdicts that rest on part of a study: nothing if all of it is there.

    table: a row for every transfer of the study; failed: how many of the missing have failed.
    """
    missing = int(table[["SA", "RA"]].isna().all(axis=1).sum())
    if not missing:
        return []
    why = f" ({failed} failed)" if failed else ""
    return [
        f"INCOMPLETE: {missing} of {len(table)} transfers are missing{why}: "
        "what follows rests on the others and may still change",
        "",
    ]
