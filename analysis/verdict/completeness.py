"""What a verdict lacks: transfers that a study asks for and that have no scores (yet); and where a
verdict would say nothing."""

from typing import Any

import numpy as np
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
    per_row = [counts[group] for group in verdict[GROUP].itertuples(index=False, name=None)]
    return verdict.assign(missing=[n for n, _ in per_row], transfers=[n for _, n in per_row])


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


def no_verdict(dense: pd.DataFrame, margin: float) -> str | None:
    """Why a task has no verdict although all of it is there, or None.

    A network that knows nothing gets the commonest class right, and nothing under attack. Where the
    dense network's accuracy is no more than the margin above that, every ticket "matches" it.
    dense: the rows of the dense network; a column `chance` holds the commonest class's share of the
    test images, in [0, 1], where it is known.
    """
    chance = float(dense["chance"].max()) if "chance" in dense and len(dense) else np.nan
    if chance == 1:
        return "the test images are of one class: nothing is to be told apart"
    for metric in METRICS:
        rows = dense[dense["regime"] == metric.regime]
        scores = rows[metric.score].dropna().astype(float)
        if not np.isfinite(scores).all():
            return f"the dense network's {metric.score} is not a number in [0, 1]"
        if scores.empty:
            continue
        ignorant = np.nan_to_num(chance) if metric.score == "SA" else 0.0
        if scores.mean() <= ignorant + margin:
            return (
                f"the dense network's {metric.score} under {metric.regime} training, "
                f"{100 * scores.mean():.1f} %, is within the margin of {100 * ignorant:.1f} %, "
                "which a network that has learnt nothing reaches"
            )
    return None
