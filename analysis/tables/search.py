"""Trials of a search as tables and lines: the best, the Pareto front, and what the seeds say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables.text import format_table
from search_spaces import trials
from search_spaces.keys import key
from search_spaces.study import Study

SHOWN = 5
CONFIDENCE = 0.95


def frame(study: Study, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row for each trial, in order: trial (from 1), key, state, the searched parameters by path,
    SA and RA (validation accuracy in [0, 1]; missing where there is none), epochs, seconds, and
    whether the point is the study's own (shipped) and on the Pareto front of the objectives."""
    search = trials.searched(study)
    columns = ["key", "state", *search.space, "SA", "RA", "epochs", "seconds"]
    table = pd.DataFrame(list(rows), columns=columns)
    table = table.astype({"SA": float, "RA": float, "seconds": float, "epochs": "Int64"})
    table.insert(0, "trial", range(1, len(table) + 1))
    own = key(trials.trial(study, trials.shipped_point(study)))
    table["shipped"] = table["key"] == own
    table["front"] = front(table[objectives(study)])
    return table


def objectives(study: Study) -> list[str]:
    """The columns that the search maximises."""
    return [name.upper() for name in trials.searched(study).objectives]


def front(scores: pd.DataFrame) -> list[bool]:
    """Which rows no other dominates: none is at least as high everywhere and higher somewhere.

    Rows with a missing score are not on it; of one column, the front is its maximum.
    """
    values = scores.to_numpy(dtype=float)
    return [
        not pd.isna(row).any()
        and not any((other >= row).all() and (other > row).any() for other in values)
        for row in values
    ]


def winner(study: Study, table: pd.DataFrame) -> pd.Series | None:
    """The row on the front with the highest mean over the objectives; of equals the study's own,
    then the earliest. None if no trial has a score."""
    best = table[table["front"]]
    if best.empty:
        return None
    mean = best[objectives(study)].mean(axis=1)
    order = best.assign(mean=mean).sort_values(
        ["mean", "shipped", "trial"], ascending=[False, False, True]
    )
    return order.iloc[0]


def best_so_far(study: Study, table: pd.DataFrame) -> str:
    """One line: the best score of each objective, beside the study's own."""
    parts = []
    own = table[table["shipped"]]
    for name in objectives(study):
        if table[name].notna().any():
            shipped = f" (shipped {100 * own[name].iloc[0]:.1f})" if own[name].notna().any() else ""
            parts.append(f"best {name} {100 * table[name].max():.1f} %{shipped}")
    return ", ".join(parts)


def result_lines(study: Study, table: pd.DataFrame) -> list[str]:
    """The best trials, or the whole front of several objectives, and the study's own recipe."""
    names = objectives(study)
    chosen = table.dropna(subset=names)
    if len(names) > 1:
        chosen = chosen[chosen["front"]]
    chosen = chosen.sort_values(names, ascending=False, kind="stable")
    shown = chosen if len(names) > 1 else chosen.head(SHOWN)
    own = table[table["shipped"] & ~table["trial"].isin(shown["trial"])]
    shown = pd.concat([shown, own])
    what = "Pareto front" if len(names) > 1 else f"best {min(SHOWN, len(chosen))}"
    percent = {name: 100 * shown[name] for name in ("SA", "RA") if shown[name].notna().any()}
    shown = shown.assign(**{"": ["shipped" if own else "" for own in shown["shipped"]]})
    shown = shown.assign(**{name: column.round(1) for name, column in percent.items()})
    space = trials.searched(study).space
    shown = shown.assign(**{name: shown[name].map(_brief) for name in space})
    columns = ["trial", *names, *(n for n in percent if n not in names), "state"]
    columns += [*space, ""]
    head = f"{what} of {len(table)} trials (validation accuracy in %)"
    lines = format_table(shown[columns], "table").splitlines()
    return [head, *(line.rstrip() for line in lines)]


def _brief(value: Any) -> Any:
    """A value for people; a parameter that a trial has not is a missing value."""
    return f"{value:.4g}" if isinstance(value, float) and value == value else value


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences and its 95 % Student t interval."""

    mean: float
    low: float
    high: float


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """first - second, pair by pair; at least two pairs."""
    # Takes a second to import, and is needed once a search.
    from scipy import stats

    differences = np.subtract(first, second)
    mean, n = float(differences.mean()), len(differences)
    error = float(differences.std(ddof=1)) / n**0.5
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return Difference(mean, mean - half, mean + half)


def judgement(name: str, best: Sequence[float], own: Sequence[float]) -> str:
    """One sentence on whether the best recipe beats the study's own beyond seed noise; scores in
    [0, 1] of the same seeds."""
    difference = paired(best, own)
    if difference.low > 0:
        says = "better than the shipped recipe, beyond seed noise"
    elif difference.high < 0:
        says = "worse than the shipped recipe, beyond seed noise: the search was lucky"
    else:
        says = "within seed noise of the shipped recipe"
    interval = f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    return (
        f"{name}, {len(best)} further seeds: best {_spread(best)} %, shipped {_spread(own)} %, "
        f"difference {100 * difference.mean:+.1f} {interval}: "
        f"the best recipe is {says}"
    )


def _spread(values: Sequence[float]) -> str:
    column = 100 * pd.Series(values, dtype=float)
    return f"{column.mean():.1f}±{column.std():.1f}"
