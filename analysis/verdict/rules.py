"""The two rules of a verdict, over a study's table of transfers.

one-std is the paper's (see one_std.py); non-inferiority asks for statistical evidence (see
noninferiority.py) and says what would give it where it is lacking.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.verdict.completeness import no_verdict
from analysis.verdict.inference import Bools, Floats, images_behind
from analysis.verdict.ladder import Looks
from analysis.verdict.noninferiority import Finding, Margin, interval, judge, seeds_behind
from analysis.verdict.one_std import GROUP, METRICS, Metric, groups
from analysis.verdict.outlook import Replicate, settlement
from analysis.verdict.records import Correct
from search_spaces import grid
from search_spaces.levels import sparsity
from search_spaces.study import Study

SHOWN_COLUMNS = [
    *GROUP,
    "level",
    "sparsity",
    "status",
    "advice",
    "likely_level",
    "likely_sparsity",
    "low_sparsity",
    "high_sparsity",
    "margin",
    "confidence",
    *(f"{metric.name}_{part}" for metric in METRICS for part in ("difference", "lower", "error")),
    "n",
    "dense_n",
    "source_seeds",
    "test_images",
    "next_level",
    "next_sparsity",
    "next_status",
    "next_metric",
    "next_loss",
]


def non_inferiority(
    study: Study, table: pd.DataFrame, correct: Correct | None = None
) -> pd.DataFrame:
    """The verdict by evidence: one row per theta, pruning, dataset and fraction with both regimes.

    level, sparsity: the largest level shown to lose less than the task's margin in every metric
    status, advice: confirmed (every level above it is shown to fail), refuted (so is every pruned
        level), or undecided, with what would settle it; a level without scores leaves it undecided;
        none, with the reason, where a network that knows nothing would pass
    likely_level, likely_sparsity: the largest level that matches by its estimates alone
    low_sparsity, high_sparsity: 90 % interval of the true extreme
    <metric>_difference, _lower, _error: at that level, to dense; shares in [-1, 1]
    n, dense_n: the fewest seeds behind them, or source seeds where there are several
    source_seeds: how many the study asks for: with one the verdict is about these tickets, with
        several about the method; test_images: whether their error is included
    next_level, next_sparsity, next_status: the next sparser level that was tested, and whether it
        is shown to fail or open; next_metric, next_loss: the metric that is lowest there, and by
        how much it is lower than the dense network's

    table: as Results.expected has it; correct: the per-image records where there are any.
    """
    rows = [
        {
            **labels,
            "source_seeds": pruned["source_seed"].nunique(),
            **_row(study, labels, dense, pruned, correct or {}),
        }
        for labels, dense, pruned in groups(table)
        if {metric.regime for metric in METRICS} <= set(pruned["regime"])
    ]
    return pd.DataFrame(rows, columns=SHOWN_COLUMNS).astype(
        dict.fromkeys(["level", "likely_level", "n", "dense_n", "next_level"], "Int64")
    )


def finding(
    study: Study,
    labels: Mapping[str, Any],
    dense: pd.DataFrame,
    pruned: pd.DataFrame,
    correct: Correct,
) -> tuple[Finding | None, list[int]]:
    """(what the rows of one group say, the levels of its rows); None if dense lacks a metric."""
    tested = {int(level) for level in pruned["level"]}
    # Where levels are given, tickets between them are made too: the extreme may be one of those.
    made = study.pruning[labels["pruning"]].made_levels
    ladder = grid.ladder(study, *(labels[name] for name in GROUP)) or made
    levels = [0, *sorted(set(ladder) | tested)]
    rows = pd.concat([dense, pruned])
    metrics = [_arrays(metric, rows, levels, correct) for metric in METRICS]
    if not all(seeds_behind(metric.scores)[0] for metric in metrics):
        return None, levels
    task = labels["dataset"], labels["fraction"]
    first = grid.first_seeds(study, *task)
    looks = None if first is None else Looks(first)
    scores = [metric.scores for metric in metrics]
    right = [metric.correct for metric in metrics]
    images = [metric.images for metric in metrics]
    return judge(scores, Margin(grid.margin(study, *task)), right, looks, images), levels


def _row(
    study: Study,
    labels: Mapping[str, Any],
    dense: pd.DataFrame,
    pruned: pd.DataFrame,
    correct: Correct,
) -> dict[str, Any]:
    margin = grid.margin(study, labels["dataset"], labels["fraction"])
    if reason := no_verdict(dense, margin):
        return {"status": "none", "advice": reason, "margin": margin}
    ladder, levels = finding(study, labels, dense, pruned, correct)
    if ladder is None:
        why = "the dense network is incomplete"
        return {"status": "undecided", "advice": why, "margin": margin}
    known = dict(zip(pruned["level"], pruned["sparsity"], strict=True)) | {0: 0.0}
    rate = study.pruning[labels["pruning"]].rate
    sparsities = [known.get(level, sparsity(level, rate)) for level in levels]
    low, high = interval(ladder)
    several = pruned["source_seed"].nunique() > 1
    seconds = _seconds_a_seed(pd.concat([dense, pruned]))
    # What a further theta and its tickets take is not in the table.
    more = Replicate("source seed") if several else Replicate("seed", seconds)
    status, what_settles = settlement(ladder, sparsities, more)
    wanted = (levels.index(int(level)) for level in sorted(set(pruned["level"])))
    absent = [row for row in wanted if row > ladder.extreme and row not in ladder.outcomes]
    if absent and status != "undecided":
        names = ", ".join(f"{100 * sparsities[row]:.2f} %" for row in absent)
        what = "transfers of every source seed" if several else "all transfers"
        status, what_settles = "undecided", f"{what} at {names} are missing"
    best = ladder.extreme
    row: dict[str, Any] = {
        "level": levels[best],
        "sparsity": sparsities[best],
        "status": status,
        "advice": what_settles,
        "likely_level": levels[ladder.likely],
        "likely_sparsity": sparsities[ladder.likely],
        "low_sparsity": sparsities[low],
        "high_sparsity": sparsities[high],
        "margin": ladder.margin.size,
        "confidence": ladder.margin.confidence,
        "n": int(ladder.seeds[:, best].min()),
        "dense_n": int(ladder.seeds[:, 0].min()),
        "test_images": ladder.with_images,
    }
    for metric, values, lower, error in zip(
        METRICS, ladder.value, ladder.lower, ladder.error, strict=True
    ):
        row[f"{metric.name}_difference"] = values[best]
        row[f"{metric.name}_lower"] = lower[best]
        row[f"{metric.name}_error"] = error[best]
    return row | _next(ladder, levels, sparsities)


def _next(ladder: Finding, levels: list[int], sparsity: list[float]) -> dict[str, Any]:
    """The next tested level above the one that is shown."""
    above = min((row for row in ladder.outcomes if row > ladder.extreme), default=None)
    if above is None:
        return {}
    differences = ladder.value[:, above]
    lowest = int(np.nanargmin(differences))
    return {
        "next_level": levels[above],
        "next_sparsity": sparsity[above],
        "next_status": ladder.outcomes[above],
        "next_metric": METRICS[lowest].name,
        "next_loss": -float(differences[lowest]),
    }


def _seconds_a_seed(rows: pd.DataFrame) -> float:
    """Mean training time of one level with one seed, under all regimes of a verdict."""
    if "seconds" not in rows:
        return np.nan
    judged = rows[rows["regime"].isin({metric.regime for metric in METRICS})]
    return float(judged.groupby("regime")["seconds"].mean().sum(skipna=False))


@dataclass(frozen=True)
class _Arrays:
    """scores (L, S) of a metric, or (L, C, S) of C source seeds where there are several; correct:
    its per-image records, with an axis for images behind those, if every score has one; images: the
    number of test images, if it is known."""

    scores: Floats
    correct: Bools | None
    images: int | None


def _arrays(metric: Metric, rows: pd.DataFrame, levels: list[int], correct: Correct) -> _Arrays:
    images = images_behind(rows[["SA", "RA"]].to_numpy(float))
    rows = rows[rows["regime"] == metric.regime]
    # Also those that have no score: of a source seed, all must be there.
    sources, seeds = (sorted(rows[name].unique()) or [0] for name in ("source_seed", "seed"))
    rows = rows.dropna(subset=[metric.score])
    labels = rows[["level", "source_seed", "seed"]].itertuples(index=False, name=None)
    places = [(levels.index(k), sources.index(c), seeds.index(s)) for k, c, s in labels]
    scores = np.full((len(levels), len(sources), len(seeds)), np.nan)
    for place, value in zip(places, rows[metric.score], strict=True):
        scores[place] = value
    records = [correct.get(key, {}).get(metric.score) for key in rows["key"]]
    known = [record for record in records if record is not None]
    several = slice(None) if len(sources) > 1 else 0
    if not known or len(known) < len(records):
        return _Arrays(scores[:, several], None, len(known[0]) if known else images)
    right = np.zeros((*scores.shape, len(known[0])), bool)
    for place, record in zip(places, known, strict=True):
        right[place] = record
    return _Arrays(scores[:, several], right[:, several], len(known[0]))
