"""Which tickets win: pure functions over a table of transfers.

A table has one row per transfer and at least the columns theta, pruning, level, sparsity, dataset,
fraction, regime, source_seed, seed, SA and RA. Scores and sparsities are shares in [0, 1]; a score
that is not there is NaN. Dense networks have pruning "dense" and level 0; every pruning of the same
theta, dataset and fraction is held against them.

The rule is that of Chen et al. (ICML 2022): a ticket matches in a metric when its mean over seeds
is no more than one standard deviation of the dense network below the dense mean. Of several source
seeds, every transfer counts as a seed. A double-win ticket matches in SA under standard training
and in both SA and RA under adversarial training.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.verdict import remarks
from search_spaces.grid import DENSE

RULE = "within one dense std of the dense mean"
GROUP = ["theta", "pruning", "dataset", "fraction"]

# Means of the same numbers in another order differ in the last bits.
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Metric:
    """A score under a training regime."""

    score: str
    regime: str

    @property
    def name(self) -> str:
        return f"{self.score}_{self.regime}"


METRICS = (Metric("SA", "standard"), Metric("SA", "adversarial"), Metric("RA", "adversarial"))
REGIMES = frozenset(metric.regime for metric in METRICS)

_STATISTICS = ("mean", "std", "n")
LEVEL_COLUMNS = [
    *GROUP,
    "level",
    "sparsity",
    *(f"{metric.name}_{part}" for metric in METRICS for part in (*_STATISTICS, "matching")),
    "n",
    "source_seeds",
    "seeds",
    "missing",
    "complete",
    "same_seeds",
    "double_win",
]
EXTREME_COLUMNS = [
    *GROUP,
    "level",
    "sparsity",
    *(
        f"{metric.name}_{who}{part}"
        for metric in METRICS
        for who in ("", "dense_")
        for part in ("mean", "std")
    ),
    "n",
    "dense_n",
    "source_seeds",
    "levels_complete",
    "lower_levels_match",
    "lower_levels",
    "note",
]


def matching(values: ArrayLike, dense: ArrayLike) -> bool:
    """Whether mean(values) >= mean(dense) - std(dense), each over seeds.

    The standard deviation is the sample's (ddof 1); a single dense seed has none and counts as 0.
    Raises ValueError if either array is empty, not one-dimensional or not finite.
    """
    ticket, reference = np.asarray(values, float), np.asarray(dense, float)
    for name, array in (("values", ticket), ("dense", reference)):
        if array.ndim != 1 or not array.size or not np.isfinite(array).all():
            raise ValueError(f"{name}: needs one finite score per seed (got {array!r:.80})")
    spread = float(reference.std(ddof=1)) if reference.size > 1 else 0.0
    return bool(ticket.mean() >= reference.mean() - spread - TOLERANCE)


def levels_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row per theta, pruning, dataset, fraction and level; level 0 is the dense network.

    For each metric: mean, sample standard deviation (NaN for one seed) and number n of seeds, and
    whether it is matching. `n`: the fewest seeds behind a metric; with several `source_seeds`, that
    many, a seed is a transfer of any of them. `seeds`: the most that a metric was to have;
    `missing`: the most that a metric lacks of its own. `complete`: the level and its
    dense network have a value in every metric, so the level can be judged. `same_seeds`: none of
    its seeds is missing, and dense was run on all of them. `double_win`: complete and matching in
    every metric.
    """
    by_cell = samples(table)
    rows = []
    for group, levels in _ladders(by_cell).items():
        theta, _, dataset, fraction = group
        dense = by_cell.get((theta, DENSE, dataset, fraction, 0), Sample())
        labels = dict(zip(GROUP, group, strict=True))
        rows.append(_level_row({**labels, "level": 0}, dense, dense))
        rows += [
            _level_row({**labels, "level": level}, by_cell[*group, level], dense)
            for level in sorted(levels)
        ]
    return pd.DataFrame(rows, columns=LEVEL_COLUMNS)


def extreme(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict: one row per theta, pruning, dataset and fraction that has both regimes.

    level, sparsity: the largest double-win level (0, the dense network, always is one); missing if
        the dense network is incomplete
    <metric>_mean, _std: the ticket's at that level; <metric>_dense_mean, _std: the dense network's
    n, dense_n: the fewest seeds behind them; source_seeds: of how many source seeds
    levels_complete: how many pruned levels could be judged
    lower_levels_match: whether every lower tested level is a double win too; lower_levels says
        which are not
    note: incomplete levels, missing seeds, unequal seeds, a single seed

    A level whose rows have no score in some metric is incomplete: pass missing transfers as rows
    with NaN scores, so that they are named.
    """
    judged = _with_both_regimes(table)
    ladders = levels_table(table).groupby(GROUP, sort=False)
    rows = [
        {**dict(zip(GROUP, group, strict=True)), **_extreme_row(ladder)}
        for group, ladder in ladders
        if group in judged
    ]
    verdict = pd.DataFrame(rows, columns=EXTREME_COLUMNS)
    return verdict.astype({"level": "Int64"})


def groups(table: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]]:
    """Labels, dense rows and pruned rows of each theta x pruning x dataset x fraction."""
    judged = table[table["regime"].isin(REGIMES)]
    tasks = judged.groupby(["theta", "dataset", "fraction"], sort=False)
    for (theta, dataset, fraction), rows in tasks:
        dense = rows[rows["pruning"] == DENSE]
        for pruning, pruned in rows[rows["pruning"] != DENSE].groupby("pruning", sort=False):
            labels = (theta, pruning, dataset, fraction)
            yield dict(zip(GROUP, labels, strict=True)), dense, pruned


@dataclass
class Sample:
    """The transfers of one level to one task: its sparsity, and for each metric {(source seed,
    seed): score}, NaN for a transfer that is missing."""

    sparsity: float = 0.0
    scores: dict[str, dict[tuple[int, int], float]] = field(
        default_factory=lambda: {metric.name: {} for metric in METRICS}
    )


def samples(table: pd.DataFrame) -> dict[tuple[Any, ...], Sample]:
    """(theta, pruning, dataset, fraction, level) -> its cell, in the table's order."""
    cells: dict[tuple[Any, ...], Sample] = {}
    columns = [*GROUP, "level", "sparsity", "regime", "source_seed", "seed"]
    scores = {metric: table[metric.score].astype(float).tolist() for metric in METRICS}
    rows = table[columns].itertuples(index=False, name=None)
    for place, (*labels, sparsity, regime, source, seed) in enumerate(rows):
        for metric in METRICS:
            if metric.regime == regime:
                cell = cells.setdefault(tuple(labels), Sample(sparsity))
                cell.scores[metric.name][source, seed] = scores[metric][place]
    return cells


def _ladders(samples: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], list[int]]:
    """(theta, pruning, dataset, fraction) -> the pruned levels that were tried."""
    ladders: dict[tuple[Any, ...], list[int]] = {}
    tasks: dict[tuple[Any, ...], None] = {}
    for theta, _, dataset, fraction, _ in samples:
        tasks[theta, dataset, fraction] = None
    for *group, level in samples:
        if group[1] != DENSE:
            ladders.setdefault(tuple(group), []).append(level)
    order = {task: place for place, task in enumerate(tasks)}
    return dict(sorted(ladders.items(), key=lambda item: order[item[0][0], *item[0][2:]]))


def _level_row(labels: dict[str, Any], at_level: Sample, dense: Sample) -> dict[str, Any]:
    row = labels | {"sparsity": at_level.sparsity}
    complete = same_seeds = double_win = True
    for metric in METRICS:
        wanted, held = at_level.scores[metric.name], dense.scores[metric.name]
        values = {seed: value for seed, value in wanted.items() if not np.isnan(value)}
        reference = {seed: value for seed, value in held.items() if not np.isnan(value)}
        own = np.array(list(values.values()))
        judged = len(values) > 0 and len(reference) > 0
        matches = judged and matching(own, list(reference.values()))
        row[f"{metric.name}_mean"] = own.mean() if len(own) else np.nan
        row[f"{metric.name}_std"] = own.std(ddof=1) if len(own) > 1 else np.nan
        row[f"{metric.name}_n"] = len(own)
        row[f"{metric.name}_matching"] = matches
        complete &= judged
        same_seeds &= values.keys() == wanted.keys() and wanted.keys() <= reference.keys()
        double_win &= matches
    there = [row[f"{metric.name}_n"] for metric in METRICS]
    asked = [len(scores) for scores in at_level.scores.values()]
    missing = max(most - n for most, n in zip(asked, there, strict=True))
    sources = {source for scores in at_level.scores.values() for source, _ in scores}
    counts = {"n": min(there), "source_seeds": len(sources)}
    counts |= {"seeds": max(asked), "missing": missing}
    judged_as = {"complete": complete, "same_seeds": same_seeds, "double_win": double_win}
    return row | counts | judged_as


def _with_both_regimes(table: pd.DataFrame) -> set[Any]:
    """Groups whose pruned tickets were put to every regime that a double win needs."""
    pruned = table[table["pruning"] != DENSE]
    return {
        group for group, rows in pruned.groupby(GROUP, sort=False) if set(rows["regime"]) >= REGIMES
    }


def _extreme_row(ladder: pd.DataFrame) -> dict[str, Any]:
    dense, pruned = ladder.iloc[0], ladder.iloc[1:]
    sources = int(ladder["source_seeds"].max())
    wins = ladder[ladder["double_win"]]
    if wins.empty:
        why = "dense network incomplete: no verdict"
        return {
            "source_seeds": sources,
            "levels_complete": 0,
            "lower_levels_match": False,
            "lower_levels": why,
            "note": why,
        }
    best = wins.iloc[-1]
    lower = pruned[pruned["level"] < best["level"]]
    row: dict[str, Any] = {"level": best["level"], "sparsity": best["sparsity"]}
    for metric in METRICS:
        for part in ("mean", "std"):
            row[f"{metric.name}_{part}"] = best[f"{metric.name}_{part}"]
            row[f"{metric.name}_dense_{part}"] = dense[f"{metric.name}_{part}"]
    return row | {
        "n": best["n"],
        "dense_n": dense["n"],
        "source_seeds": sources,
        "levels_complete": int(pruned["complete"].sum()),
        "lower_levels_match": bool(lower["double_win"].all()),
        "lower_levels": remarks.lower_levels(best["level"], lower, pruned),
        "note": remarks.note(best["level"], dense, pruned),
    }
