"""A verdict for people: a sentence for each theta, pruning and task, and one table that fits a
terminal. `rules` has all that is behind it."""

import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.tables.confirmation import CONFIRMED, CONFIRMED_DENSE
from analysis.tables.rules import interval, joined, level, percent, points, remarks, star
from analysis.tables.text import aligned, task_of, task_title

Row = Mapping[Any, Any]

WIDEST = 120
_SCORES = {
    "SA_standard": "SA",
    "SA_adversarial": "SA adv.",
    "RA_adversarial": "RA adv.",
}
_TRAINED = {
    "SA_standard": "SA after standard training",
    "SA_adversarial": "SA after adversarial training",
    "RA_adversarial": "RA",
}
_STRONGER = "AutoAttack"
_COLUMNS = ("theta", "pruning", "shown", "90 % interval", "paper's", *_SCORES.values(), _STRONGER)
# What a narrow terminal does without, the last first.
_PRIORITY = (
    *("theta", "pruning", "shown", "90 % interval", "paper's", "RA adv.", _STRONGER),
    *("SA adv.", "SA"),
)


def verdict_lines(
    extreme: pd.DataFrame, shown: pd.DataFrame, width: int | None = None
) -> list[str]:
    """The verdict as a terminal of so many columns shows it (default: this one, at most 120): by
    task the sentences and the table, then what has to be known beside them.

    extreme, shown: the two tables of `flags.verdicts`.
    """
    width = width or min(shutil.get_terminal_size().columns, WIDEST)
    both = joined(extreme, shown)
    printed: list[str] = []
    for _, block in both.groupby(["dataset", "fraction"], sort=False):
        margin = block["margin"].iloc[0]
        printed.append(f"{task_title(block)}, margin {points(margin)}")
        for row in block.to_dict("records"):
            printed += _wrapped(f"- {sentence(row)}", width, indent="  ")
        printed += ["", *_table(block, width), ""]
    if printed:
        printed += [part for text in _footer(both) for part in _wrapped(text, width)]
    return [*printed, *remarks(extreme)]


def sentences(extreme: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """Each row of a verdict as a sentence that names its task."""
    rows = joined(extreme, shown).to_dict("records")
    return [f"{task_of(row)}: {sentence(row)}" for row in rows]


def sentence(row: Row) -> str:
    """How much of a network can go, by evidence, and what is shown of the next sparser level.

    row: of `flags.verdicts`' second table.
    """
    who = f"From the {row['theta']} theta"
    how = row["pruning"]
    if row["status"] in ("flagged", "none") or pd.isna(row["level"]):
        return f"{who}, {how}: no verdict: {row['advice']}."
    margin = points(row["margin"])
    if row["level"]:
        said = (
            f"{who}, {percent(row['sparsity'])} of the weights can go ({how}): SA and RA stay "
            f"within {margin} of the dense network's ({100 * row['confidence']:g} % confidence)."
        )
    elif row["status"] == "refuted":
        said = f"{who}, no tested ticket of {how} stays within {margin} of the dense network."
    else:
        said = f"{who}, no ticket of {how} is shown to stay within {margin} of the dense network."
    return f"{said} {_next(row)}"


def _next(row: Row) -> str:
    """What is known of the levels above the one that is shown."""
    if pd.isna(row["next_level"]):
        return "Nothing sparser was tested."
    where = f"At {percent(row['next_sparsity'])}"
    loss = f"{_TRAINED[row['next_metric']]} is {100 * row['next_loss']:.1f} points lower"
    if row["next_status"] == "fail":
        known = f"{where} too much is lost: {loss}."
    else:
        known = f"{where}, where {loss}, it is open."
    if row["status"] != "undecided":
        return known
    return f"{known} {interval(row)} hold the extreme with 90 % confidence; {row['advice']}."


def _table(block: pd.DataFrame, width: int) -> list[str]:
    """A task's rows under the columns that fit."""
    cells = [_cells(row) for row in block.to_dict("records")]
    wanted = [name for name in _PRIORITY if name != _STRONGER or _is_confirmed(block)]
    for count in range(len(wanted), 2, -1):
        columns = [name for name in _COLUMNS if name in wanted[:count]]
        table = aligned([columns, *([row[name] for name in columns] for row in cells)])
        if max(map(len, table)) <= width:
            break
    return table


def _cells(row: Row) -> dict[str, str]:
    blocked = row["status"] if row["status"] in ("flagged", "none") else ""
    return {
        "theta": row["theta"],
        "pruning": row["pruning"],
        "shown": blocked or percent(row["sparsity"]) + star(row),
        "90 % interval": interval(row),
        "paper's": level(row, "_one_std"),
        **{title: _score(row, metric) for metric, title in _SCORES.items()},
        _STRONGER: _beside(row.get(CONFIRMED), row.get(CONFIRMED_DENSE)),
    }


def _score(row: Row, metric: str) -> str:
    """The ticket's mean and in brackets the dense network's, in %."""
    dense, difference = row[f"{metric}_dense_mean"], row[f"{metric}_difference"]
    return _beside(dense + difference, dense)


def _beside(own: Any, dense: Any) -> str:
    if pd.isna(own) or pd.isna(dense):
        return "-"
    return f"{100 * own:.1f} ({100 * dense:.1f})"


def _is_confirmed(block: pd.DataFrame) -> bool:
    """Was any of the levels that a verdict names attacked by AutoAttack?"""
    return CONFIRMED in block and bool(block[CONFIRMED].notna().any())


def _footer(both: pd.DataFrame) -> list[str]:
    seeds = int(both["source_seeds"].max())
    about = (
        f"About the method: {seeds} source seeds are counted as its spread."
        if seeds > 1
        else "About these tickets (one source seed): transfer seeds and test images are counted, "
        "other thetas and masks are not."
    )
    columns = (
        "shown: the sparsest level shown to lose less; paper's: within one dense standard "
        "deviation; in brackets the dense network's, in %. Both rules in full: python -m analysis "
        "extreme --explain"
    )
    stronger = ["AutoAttack: RA adv. under its standard ensemble."] if _is_confirmed(both) else []
    return [about, columns, *stronger]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(text)
