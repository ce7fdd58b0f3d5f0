"""The two rules of a verdict, over a study's table of transfers.

one-std is the paper's (see verdict.py); non-inferiority asks for statistical evidence (see
noninferiority.py) and says what would give it where it is lacking.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.verdict.completeness import no_verdict
from analysis.verdict.inference import Bools, Floats, images_behind
from analysis.verdict.ladder import Looks
from analysis.verdict.noninferiority import Finding, Margin, interval, judge
from analysis.verdict.one_std import GROUP, METRICS, Metric, groups
from analysis.verdict.outlook import MOST, seeds_to_settle
from analysis.verdict.records import Correct
from search_spaces import grid
from search_spaces.levels import sparsity
from search_spaces.study import Study

Rule = Literal["one-std", "non-inferiority"]
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
    n, dense_n: the fewest seeds behind them; test_images: whether their error is included
    next_level, next_sparsity, next_status: the next sparser level that was tested, and whether it
        is shown to fail or open; next_metric, next_loss: the metric that is lowest there, and by
        how much it is lower than the dense network's

    table: as Results.expected has it; correct: the per-image records where there are any.
    """
    rows = [
        {**labels, **_row(study, labels, dense, pruned, correct or {})}
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
    if any(np.isnan(metric.scores[0]).all() for metric in metrics):
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
    status, what_settles = settlement(
        ladder, sparsities, _seconds_a_seed(pd.concat([dense, pruned]))
    )
    wanted = (levels.index(int(level)) for level in sorted(set(pruned["level"])))
    absent = [row for row in wanted if row > ladder.extreme and row not in ladder.outcomes]
    if absent and status != "undecided":
        names = ", ".join(f"{100 * sparsities[row]:.2f} %" for row in absent)
        status, what_settles = "undecided", f"all transfers at {names} are missing"
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


def settlement(ladder: Finding, sparsity: list[float], seconds: float) -> tuple[str, str]:
    """(confirmed, refuted or undecided; what would settle it) of a finding; sparsity by row.

    seconds: what one more seed of one level takes to train, NaN where that is not known."""
    if not ladder.outcomes:
        return "undecided", "no pruned level is complete"
    if not all(ladder.freedom):
        return "undecided", "one seed shows no spread: add seeds"
    if not ladder.open:
        if ladder.extreme == max(ladder.outcomes):
            return "confirmed", "the sparsest tested level; what is sparser is untested"
        if ladder.extreme:
            return "confirmed", "every sparser tested level fails"
        return "refuted", "every tested level fails"
    return "undecided", _advice(ladder, sparsity, seconds)


def _advice(ladder: Finding, sparsity: list[float], seconds: float) -> str:
    """What would settle an open ladder, if anything can be named."""
    needs = {row: seeds_to_settle(ladder, row) for row in ladder.open if not ladder.clears[row]}
    row = min(needs, key=lambda row: abs(row - ladder.likely))
    others = len(needs) - 1
    name = f"{100 * sparsity[row]:.2f} %"
    levels = f"{name} and {others} other level{'s' * (others > 1)}" if others else name
    if None in needs.values():
        row = row if needs[row] is None else next(r for r, need in needs.items() if need is None)
        distance = 100 * np.nanmin(np.abs(ladder.value[:, row] + ladder.margin.size))
        where = f"{100 * sparsity[row]:.2f} %"
        return f"the test set is too small: {where} lies {distance:.1f} points from the margin"
    seeds = max(need for need in needs.values() if need is not None)
    if seeds > MOST:
        time = _training((MOST + 1) * (1 + len(needs)) * seconds)
        return f"not affordable: more than {MOST} further seeds of dense and {levels}{time}"
    time = _training(seeds * (1 + len(needs)) * seconds)
    more = f"{seeds} more seed{'s' * (seeds > 1)} of dense and {levels}{time}"
    return f"{more} would probably settle it"


def _seconds_a_seed(rows: pd.DataFrame) -> float:
    """Mean training time of one level with one seed, under all regimes of a verdict."""
    if "seconds" not in rows:
        return np.nan
    judged = rows[rows["regime"].isin({metric.regime for metric in METRICS})]
    return float(judged.groupby("regime")["seconds"].mean().sum(skipna=False))


def _training(seconds: float) -> str:
    """Training time in brackets; nothing where it is not known."""
    if not seconds > 0:
        return ""
    amount = f"{seconds / 3600:.0f} h" if seconds > 5400 else f"{max(seconds / 60, 1):.0f} min"
    return f" (about {amount} of training)"


@dataclass(frozen=True)
class _Arrays:
    """scores (L, S) of a metric; correct (L, S, N): its per-image records, if every score has one;
    images: the number of test images, if it is known."""

    scores: Floats
    correct: Bools | None
    images: int | None


def _arrays(metric: Metric, rows: pd.DataFrame, levels: list[int], correct: Correct) -> _Arrays:
    images = images_behind(rows[["SA", "RA"]].to_numpy(float))
    rows = rows[rows["regime"] == metric.regime].dropna(subset=[metric.score])
    seeds = sorted(rows["seed"].unique()) or [0]
    places = [
        (levels.index(level), seeds.index(seed))
        for level, seed in zip(rows["level"], rows["seed"], strict=True)
    ]
    scores = np.full((len(levels), len(seeds)), np.nan)
    for place, value in zip(places, rows[metric.score], strict=True):
        scores[place] = value
    records = [correct.get(key, {}).get(metric.score) for key in rows["key"]]
    known = [record for record in records if record is not None]
    if not known or len(known) < len(records):
        return _Arrays(scores, None, len(known[0]) if known else images)
    right = np.zeros((*scores.shape, len(known[0])), bool)
    for place, record in zip(places, known, strict=True):
        right[place] = record
    return _Arrays(scores, right, len(known[0]))
