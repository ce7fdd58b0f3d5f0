"""Tables as text: for people (aligned), spreadsheets (CSV), programs (JSON), pages (Markdown) and
papers (LaTeX, with booktabs)."""

import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

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
    nullable = [name for name in table.columns if table[name].dtype == "Int64"]
    flags = [name for name in table.columns if table[name].dtype.kind == "b"]
    texts = {name: table[name].astype(object).fillna("-") for name in nullable}
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


def _is_number(table: pd.DataFrame, name: Hashable) -> bool:
    """Percentages are written out already."""
    return pd.api.types.is_numeric_dtype(table[name]) or str(name).endswith("%")


def _markdown(table: pd.DataFrame) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---:" if _is_number(table, name) else "---" for name in table]
    rows = (map(cell_text, row) for row in table.itertuples(index=False, name=None))
    return "\n".join([line(map(str, table.columns)), line(rule), *map(line, rows)])


def _latex(table: pd.DataFrame) -> str:
    places = "".join("r" if _is_number(table, name) else "l" for name in table)
    texts = table.astype(object).map(cell_text)
    # Titles in TeX are put in last: pandas would escape them.
    signs = {f"SIGN{place}N": name for place, name in enumerate(texts) if str(name)[:1] == "$"}
    plain = texts.rename(columns={name: sign for sign, name in signs.items()})
    tabular = plain.to_latex(index=False, escape=True, column_format=places)
    tabular = tabular.translate(_SYMBOLS).rstrip("\n")
    for sign, name in signs.items():
        tabular = tabular.replace(sign, str(name).replace("%", r"\%"))
    return tabular


def task_title(rows: pd.DataFrame) -> str:
    """The task of rows that share one."""
    return task_of(rows.iloc[0].to_dict())


def task_of(row: Mapping[Any, Any]) -> str:
    """A row's dataset, and the share of its training data unless it is all."""
    fraction = float(row["fraction"])
    return (
        f"{row['dataset']}"
        if fraction == 1
        else f"{row['dataset']}, {100 * fraction:g} % of the data"
    )


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
