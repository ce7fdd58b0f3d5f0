"""Two tickets, or two transfers, against each other: differences with their uncertainty."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.query.find import Cell, title
from search_spaces.errors import InputError
from search_spaces.grid import TicketCell, TransferCell

TASK = ["dataset", "fraction", "regime"]
COLUMNS = [*TASK, "score", "n", "a", "b", "difference", "low", "high", "note"]
CONFIDENCE = 0.95


def differences_between(named: Sequence[tuple[str, Cell]], table: pd.DataFrame) -> pd.DataFrame:
    """Compares two things of a study by their keys; `table` holds its finished transfers.

    Raises InputError unless both are tickets or both finished transfers.
    """
    (first, a), (second, b) = named
    if isinstance(a, TransferCell) and isinstance(b, TransferCell):
        rows = {str(row["key"]): row for row in table.to_dict("records")}
        for key in (first, second):
            if key not in rows:
                raise InputError(f"compare: transfer {key} is not finished yet")
        return transfers(rows[first], rows[second])
    if isinstance(a, TicketCell) and isinstance(b, TicketCell):
        return tickets(_transfers_of(a, table), _transfers_of(b, table))
    kinds = " and ".join(title(cell) for _, cell in named)
    raise InputError(
        f"compare: {kinds}: needs two tickets or two transfers (a theta's is THETA/dense)"
    )


def _transfers_of(cell: TicketCell, table: pd.DataFrame) -> pd.DataFrame:
    own = (table["theta"] == cell.pretraining) & (table["pruning"] == cell.pruning)
    own &= (table["level"] == cell.level) & (table["source_seed"] == cell.ticket.theta.seed)
    return table[own] if cell.replicate is None else table[own & (table["seed"] == cell.replicate)]


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of the mean of paired differences (n,); NaN for fewer than two."""
    n = len(differences)
    if n < 2:
        return float("nan"), float("nan")
    reach = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * differences.std(ddof=1) / np.sqrt(n)
    return float(differences.mean() - reach), float(differences.mean() + reach)


def scores_of(regime: str) -> list[str]:
    """The scores that are compared: a network trained without attack has next to no RA."""
    return ["SA"] if regime == "standard" else ["SA", "RA"]


def tickets(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Differences a - b of two tickets' transfers, paired by seed, on every task both were put to.

    One row per dataset, fraction, regime and score: the number n of seeds in both, the means a and
    b over those seeds, the mean difference and the ends of its 95 % interval (missing for a single
    seed), all shares in [0, 1]. note: a single seed, seeds that only one has. Raises InputError if
    there is no task that both were put to with a seed in common.
    """
    rows = []
    others = dict(list(b.groupby(TASK, sort=False)))
    for task, mine in a.groupby(TASK, sort=False):
        theirs = others.get(task)
        if theirs is None:
            continue
        labels = dict(zip(TASK, task, strict=True))
        for score in scores_of(str(labels["regime"])):
            rows += _paired(labels, score, mine, theirs)
    if not rows:
        raise InputError(
            "compare: no task and seed that both have finished transfers of: see `trials --where`"
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _paired(
    labels: dict[str, Any], score: str, a: pd.DataFrame, b: pd.DataFrame
) -> list[dict[str, Any]]:
    mine, theirs = (rows.set_index("seed")[score].dropna() for rows in (a, b))
    seeds = sorted(set(mine.index) & set(theirs.index))
    if not seeds:
        return []
    differences = (mine[seeds] - theirs[seeds]).to_numpy(float)
    low, high = interval(differences)
    notes = ["1 seed: no interval"] if len(seeds) == 1 else []
    for who, values in (("a", mine), ("b", theirs)):
        alone = sorted(set(values.index) - set(seeds))
        if alone:
            notes.append(f"only {who} has seed {', '.join(map(str, alone))}")
    means = {"a": mine[seeds].mean(), "b": theirs[seeds].mean(), "difference": differences.mean()}
    ends = {"low": low, "high": high, "note": "; ".join(notes)}
    return [{**labels, "score": score, "n": len(seeds), **means, **ends}]


def transfers(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> pd.DataFrame:
    """Differences a - b of two rows of a table of transfers: one pair, so there is no interval.

    One row per score: SA, RA (test, best epoch), last_SA and last_RA (test, last epoch).
    """
    rows = [
        {"score": score, "a": a[score], "b": b[score], "difference": a[score] - b[score]}
        for score in ("SA", "RA", "last_SA", "last_RA")
    ]
    return pd.DataFrame(rows)
