"""Choosing rows and columns of a table by what a user typed."""

import ast
import difflib
from collections.abc import Iterable

import pandas as pd

from search_spaces.errors import InputError

LONGEST = 1000
# Comparisons, logic and arithmetic over columns and literals: no calls, attributes or subscripts.
_ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Compare,
    ast.cmpop,
    ast.Name,
    ast.Load,
    ast.List,
    ast.Tuple,
    ast.Constant,
)


def select(
    table: pd.DataFrame,
    where: str | None = None,
    columns: str | None = None,
    sort: str | None = None,
) -> pd.DataFrame:
    """The rows where an expression holds, in the order of a column, with some columns only.

    where: comparisons, `and`, `or`, `not`, `in` and arithmetic over column names, numbers and
    quoted text. sort: a column, with a leading - for descending. columns: names joined by commas.
    Raises InputError naming what is wrong.
    """
    if where is not None:
        table = table[_holds(table, where)]
    if sort is not None:
        column = sort.removeprefix("-")
        _check("--sort", [column], table)
        table = table.sort_values(column, ascending=not sort.startswith("-"), kind="stable")
    if columns is not None:
        _check("--columns", _names(columns), table)
        table = table[_names(columns)]
    return table


STATISTICS = {
    "mean": "mean",
    "std": "std",
    "n": "count",
    "min": "min",
    "max": "max",
    "median": "median",
}


CONDITIONS = ("theta", "pruning", "level", "dataset", "fraction", "regime")
"""What a transfer is of: a mean over several of them says nothing."""


def grouped(table: pd.DataFrame, by: str, statistics: str, columns: str | None) -> pd.DataFrame:
    """One row per value of the columns `by`, in the table's order, with statistics of others.

    by, statistics, columns: names joined by commas; statistics are those of STATISTICS (std is the
    sample's), columns numbers (default: SA and RA). Results are called COLUMN_STATISTIC. Raises
    InputError naming what is wrong, also where a row would be over several of CONDITIONS.
    """
    groups, wanted = _names(by), _names(statistics)
    _check("--group-by", groups, table)
    for name in wanted:
        if name not in STATISTICS:
            raise InputError(f"--agg {name}: {_nearest(name, STATISTICS)}")
    measured = _names(columns) if columns else ["SA", "RA"]
    _check("--columns", measured, table)
    for name in measured:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise InputError(f"--columns {name}: is text: with --group-by name numbers, as SA")
    mixed = pooled(table, by, CONDITIONS)
    if mixed:
        raise InputError(
            f"--group-by {by}: a row would be over several values of {', '.join(mixed)}: add "
            f"{'them' if len(mixed) > 1 else 'it'}, or choose one with --where"
        )
    asked = {f"{name}_{part}": (name, STATISTICS[part]) for name in measured for part in wanted}
    return table.groupby(groups, sort=False, as_index=False).agg(**asked)


def pooled(table: pd.DataFrame, by: str, labels: Iterable[str]) -> list[str]:
    """The labels that take several values within a group: what its statistics are taken over."""
    groups = table.groupby(_names(by), sort=False)
    others = [name for name in labels if name not in _names(by) and name in table]
    return [name for name in others if (groups[name].nunique() > 1).any()]


def _names(text: str) -> list[str]:
    """Each name once: a table has no column twice."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


def _holds(table: pd.DataFrame, where: str) -> pd.Series:
    place = f"--where {where:.80}"
    if len(where) > LONGEST:
        raise InputError(f"{place}...: longer than {LONGEST} characters: make it shorter")
    try:
        tree = ast.parse(where.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        raise InputError(
            f"{place}: not an expression: write pruning == 'imp' and SA > 0.9"
        ) from None
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise InputError(
                f"{place}: {type(node).__name__} is not allowed: compare column names, numbers and "
                "'text' with ==, <, in, and, or, not, + - * /"
            )
        if isinstance(node, ast.BinOp) and any(map(_is_text, (node.left, node.right))):
            raise InputError(f"{place}: no arithmetic on 'text': compare it, as in theta == 'fast'")
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    _check(place, names, table)
    try:
        holds = table.eval(where.strip(), engine="python")
    except Exception as error:  # pandas raises a dozen types for one mistake: mismatched operands
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{place}: cannot be computed: {reason}") from None
    if not isinstance(holds, pd.Series) or holds.dtype.kind != "b":
        raise InputError(f"{place}: must be true or false for each row, as in SA > 0.9")
    return holds.fillna(False).astype(bool)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _check(place: str, names: Iterable[str], table: pd.DataFrame) -> None:
    for name in names:
        if name not in table.columns:
            raise InputError(f"{place}: no column {name}: {_nearest(name, table.columns)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
