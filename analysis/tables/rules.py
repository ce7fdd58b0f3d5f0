"""Both rules of a verdict for people, in percent, with all that is known: a table for each, and
what has to be said beside them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.tables.text import aligned, task_of, task_title
from analysis.verdict.one_std import GROUP, METRICS, RULE

Row = Mapping[Any, Any]


def remarks(extreme: pd.DataFrame) -> list[str]:
    """What the stars stand for, what is noted of a row, and which rows wait for somebody to look.

    extreme: the table of `one_std.extreme`, or the first of `flags.verdicts`.
    """
    rows = extreme.to_dict("records")
    stars = [
        f"* {row['theta']} {row['pruning']} on {task_of(row)}: {row['missing']} of "
        f"{row['transfers']} transfers are missing: may still change"
        for row in rows
        if row.get("missing")
    ]
    notes = [
        f"note: {row['theta']} {row['pruning']} on {row['dataset']}: {row['note']}"
        for row in rows
        if row["note"]
    ]
    return [*stars, *notes, *flagged_lines(extreme)]


def flagged_lines(extreme: pd.DataFrame) -> list[str]:
    """Which verdicts wait for somebody to look, at what, and how to go on."""
    lines = [
        f"flagged: {row['theta']} {row['pruning']} on {task_of(row)}, "
        f"{percent(row['sparsity'])}: {row['flagged']}"
        for row in extreme.to_dict("records")
        if row.get("flagged")
    ]
    remedy = (
        "(signs of masked gradients, spelled out in the report: no verdict until the study says "
        'why the scores are sound, as in looked_at: {"KEY": "..."})'
    )
    return [*lines, remedy] if lines else []


def one_std_lines(extreme: pd.DataFrame) -> list[str]:
    """The table of `one_std.extreme`, or of `flags.verdicts`, for people, in percent: a block per
    dataset and fraction."""
    printed = []
    for _, block in extreme.groupby(["dataset", "fraction"], sort=False):
        printed += [task_title(block), *_block(block), ""]
    footer = f"(mean±std in %, the dense network's in brackets; rule: {RULE}{_seeds(extreme)})"
    return [*printed[:-1], footer, *remarks(extreme)] if printed else []


def evidence_lines(extreme: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """Both rules side by side for people, in percent, with what would settle what is open, from the
    tables of `one_std.extreme` and `rules.non_inferiority`, or of `flags.verdicts`."""
    both = joined(extreme, shown)
    printed = []
    for _, block in both.groupby(["dataset", "fraction"], sort=False):
        head = ["theta", "pruning", "one-std", "non-inferior", "estimate", "90 % interval", ""]
        rows = [
            [
                row["theta"],
                row["pruning"],
                level(row, "_one_std"),
                level(row),
                percent(row["likely_sparsity"]),
                interval(row),
                f"{row['status']}: {row['advice']}",
            ]
            for row in block.to_dict("records")
        ]
        margin = points(block["margin"].iloc[0])
        printed += [f"{task_title(block)}, margin {margin}", *aligned([head, *rows]), ""]
    if printed:
        with_images = shown["test_images"].dropna()
        images = "test-set error included" if all(with_images) else "without the test set's error"
        printed[-1] = (
            "(extreme levels; non-inferior: shown with 95 % confidence to lose less than the margin"
            f" in all three metrics, seeds paired, {images}; estimate: loses less by its means)"
        )
    return printed


def joined(extreme: pd.DataFrame, shown: pd.DataFrame) -> pd.DataFrame:
    """The rows of the verdict by evidence; beside them the dense network's scores and, as columns
    that end in _one_std, sparsity and flag of the paper's rule."""
    dense = [f"{metric.name}_dense_mean" for metric in METRICS]
    paper = extreme.reindex(columns=[*GROUP, "sparsity", "flagged", *dense])
    paper["flagged"] = paper["flagged"].fillna("")
    names = {name: f"{name}_one_std" for name in ("sparsity", "flagged")}
    return shown.merge(paper.rename(columns=names), on=GROUP)


def level(row: Row, rule: str = "") -> str:
    """The sparsity that a rule arrives at, with its star, or that somebody has to look at it first.

    rule: what the rule's columns end in."""
    flagged = row.get(f"flagged{rule}")
    return "flagged" if flagged else percent(row[f"sparsity{rule}"]) + star(row)


def interval(row: Row) -> str:
    """What may be the extreme; of the sparsest tested level nothing says where it ends."""
    if pd.isna(row["low_sparsity"]):
        return "-"
    if row["level"] and pd.isna(row["next_level"]):
        return f"{percent(row['low_sparsity'])} and more"
    return f"{number(row['low_sparsity'])} to {percent(row['high_sparsity'])}"


def star(row: Row) -> str:
    """Marks a level that rests on part of its transfers."""
    return "*" if row.get("missing") else ""


def points(share: float) -> str:
    """A difference of accuracies in percentage points."""
    size = f"{100 * share:g}"
    return f"{size} point{'' if size == '1' else 's'}"


def percent(sparsity: float) -> str:
    """A sparsity in [0, 1) as tables have it; - for none."""
    return "-" if pd.isna(sparsity) else f"{number(sparsity)} %"


def number(sparsity: float) -> str:
    """The same without its unit."""
    return f"{100 * sparsity:.2f}"


def _block(block: pd.DataFrame) -> list[str]:
    titles = [f"{metric.score} {metric.regime}" for metric in METRICS]
    head = ["theta", "pruning", "extreme", *titles, "lower levels"]
    body = [
        [
            row["theta"],
            row["pruning"],
            level(row),
            *(_score_with_spread(row, metric.name) for metric in METRICS),
            row["lower_levels"],
        ]
        for row in block.to_dict("records")
    ]
    return aligned([head, *body])


def _score_with_spread(row: Row, metric: str) -> str:
    if pd.isna(row[f"{metric}_mean"]):
        return "-"
    ticket = _mean_std(row[f"{metric}_mean"], row[f"{metric}_std"])
    return f"{ticket} ({_mean_std(row[f'{metric}_dense_mean'], row[f'{metric}_dense_std'])})"


def _mean_std(mean: float, std: float) -> str:
    spread = "" if pd.isna(std) else "±" + f"{100 * std:.1f}".removeprefix("0")
    return f"{100 * mean:.1f}{spread}"


def _seeds(extreme: pd.DataFrame) -> str:
    counts = pd.concat([extreme["n"], extreme["dense_n"]]).dropna().astype(int)
    if counts.empty:
        return ""
    low, high = int(counts.min()), int(counts.max())
    return f", {low} seed{'s' * (low > 1)}" if low == high else f", {low} to {high} seeds"
