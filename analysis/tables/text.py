"""Tables as text: for people (aligned), spreadsheets (CSV), programs (JSON), pages (Markdown) and
papers (LaTeX, with booktabs)."""

import json
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.verdict.one_std import GROUP, METRICS, RULE

Format = Literal["table", "csv", "json", "markdown", "latex"]


# What pandas leaves as it is, and LaTeX's own fonts do not have.
_SYMBOLS = str.maketrans({"±": r"$\pm$", "<": "$<$", ">": "$>$", "✓": r"\checkmark{}"})


def format_table(table: pd.DataFrame, form: Format) -> str:
    """A table as text without a final newline; missing values are '-', empty or null."""
    if form == "csv":
        return table.to_csv(index=False).rstrip("\n")
    if form == "json":
        return json.dumps(records(table), indent=2, ensure_ascii=False)
    if form == "markdown":
        return _markdown(table)
    if form == "latex":
        return _latex(table)
    if table.empty:
        return "  ".join(table.columns)
    # pandas writes a missing integer as <NA>, whatever na_rep says.
    holes = [name for name in table.columns if table[name].dtype == "Int64"]
    flags = [name for name in table.columns if table[name].dtype.kind == "b"]
    texts = {name: table[name].astype(object).fillna("-") for name in holes}
    texts |= {name: table[name].map(cell_text, na_action=None) for name in flags}
    shown = table.assign(**texts)
    with pd.option_context("display.precision", 4):
        return shown.to_string(index=False, na_rep="-")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as one dict per row, of values that JSON has; missing values are None."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def cell_text(value: Any) -> str:
    """A value of a table for people: numbers with 4 significant digits, - for a missing one."""
    if value is None or value is pd.NA or value != value:
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.4g}"
    return str(value)


def _markdown(table: pd.DataFrame) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---:" if pd.api.types.is_numeric_dtype(table[name]) else "---" for name in table]
    rows = (map(cell_text, row) for row in table.itertuples(index=False, name=None))
    return "\n".join([line(map(str, table.columns)), line(rule), *map(line, rows)])


def _latex(table: pd.DataFrame) -> str:
    places = "".join("r" if pd.api.types.is_numeric_dtype(table[name]) else "l" for name in table)
    texts = table.astype(object).map(cell_text)
    tabular = texts.to_latex(index=False, escape=True, column_format=places)
    return tabular.translate(_SYMBOLS).rstrip("\n")


def task_title(rows: pd.DataFrame) -> str:
    """The dataset of rows that share one, and the share of its training data unless it is all."""
    dataset, fraction = rows["dataset"].iloc[0], float(rows["fraction"].iloc[0])
    return f"{dataset}" if fraction == 1 else f"{dataset}, {100 * fraction:g} % of the data"


def verdict_lines(extreme: pd.DataFrame) -> list[str]:
    """The table of `verdict.extreme`, or of `flags.verdicts`, for people, in percent: a block per
    dataset and fraction."""
    lines = []
    for _, block in extreme.groupby(["dataset", "fraction"], sort=False):
        lines += [task_title(block), *_block(block), ""]
    notes = [
        f"note: {row['theta']} {row['pruning']} on {row['dataset']}: {row['note']}"
        for row in extreme.to_dict("records")
        if row["note"]
    ]
    footer = f"(mean±std in %, the dense network's in brackets; rule: {RULE}{_seeds(extreme)})"
    rest = [*_holes(extreme), *notes, *flagged_lines(extreme)]
    return [*lines[:-1], footer, *rest] if lines else []


def _holes(extreme: pd.DataFrame) -> list[str]:
    """What the stars stand for."""
    return [
        f"* {row['theta']} {row['pruning']} on {task_title(pd.DataFrame([row]))}: "
        f"{row['missing']} of {row['transfers']} transfers are missing: may still change"
        for row in extreme.to_dict("records")
        if row.get("missing")
    ]


def flagged_lines(extreme: pd.DataFrame) -> list[str]:
    """Which verdicts wait for somebody to look, at what, and how to go on."""
    said = [
        f"flagged: {row['theta']} {row['pruning']} on {task_title(pd.DataFrame([row]))}, "
        f"{_percent(row['sparsity'])}: {row['flagged']}"
        for row in extreme.to_dict("records")
        if row.get("flagged")
    ]
    remedy = (
        "(signs of masked gradients, spelled out in the report: no verdict until the study says "
        'why the scores are sound, as in looked_at: {"KEY": "..."})'
    )
    return [*said, remedy] if said else []


def rules_lines(extreme: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """Both rules side by side for people, in percent, from the tables of `verdict.extreme` and
    `rules.non_inferiority`, or of `flags.verdicts`: a block per dataset and fraction."""
    one_std = extreme[[name for name in (*GROUP, "sparsity", "flagged") if name in extreme]]
    both = shown.merge(one_std, on=GROUP, suffixes=("", "_one_std"))
    lines = []
    for _, block in both.groupby(["dataset", "fraction"], sort=False):
        margin = f"{100 * block['margin'].iloc[0]:g} points"
        head = ["theta", "pruning", "one-std", "non-inferior", "estimate", "90 % interval", ""]
        rows = [
            [
                row["theta"],
                row["pruning"],
                "flagged"
                if row.get("flagged_one_std")
                else _percent(row["sparsity_one_std"]) + _star(row),
                "flagged" if row.get("flagged") else _percent(row["sparsity"]) + _star(row),
                _percent(row["likely_sparsity"]),
                f"{_percent(row['low_sparsity'])} to {_percent(row['high_sparsity'])}",
                f"{row['status']}: {row['advice']}",
            ]
            for row in block.to_dict("records")
        ]
        lines += [f"{task_title(block)}, margin {margin}", *_aligned([head, *rows]), ""]
    if lines:
        with_images = shown["test_images"].dropna()
        images = "test-set error included" if all(with_images) else "without the test set's error"
        lines[-1] = (
            "(about these tickets: seeds and test images are counted, not other thetas or masks)"
        )
        lines.append(
            "(extreme levels; non-inferior: shown with 95 % confidence to lose less than the margin"
            f" in all three metrics, seeds paired, {images}; estimate: loses less by its means)"
        )
    return lines


def _star(row: dict[Any, Any]) -> str:
    """Marks a level that rests on part of its transfers."""
    return "*" if row.get("missing") else ""


def _percent(sparsity: float) -> str:
    return "-" if pd.isna(sparsity) else f"{100 * sparsity:.2f} %"


def _block(block: pd.DataFrame) -> list[str]:
    titles = [f"{metric.score} {metric.regime}" for metric in METRICS]
    head = ["theta", "pruning", "extreme", *titles, "lower levels"]
    body = [
        [
            row["theta"],
            row["pruning"],
            "flagged" if row.get("flagged") else _percent(row["sparsity"]) + _star(row),
            *(_score(row, metric.name) for metric in METRICS),
            row["lower_levels"],
        ]
        for row in block.to_dict("records")
    ]
    return _aligned([head, *body])


def _score(row: dict[Any, Any], metric: str) -> str:
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


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
