"""Tables as people read them: shares in percent, said in the title; keys no longer than need be.

What programs read, CSV and JSON, keeps shares in [0, 1] and whole keys.
"""

import re
from collections.abc import Iterable

import pandas as pd

from analysis.tables.roles import theta_label
from analysis.tables.text import Format, format_table

DATA = ("csv", "json")
"""The forms that programs read."""
SHORTEST = 6
"""Digits of a key that are shown at least."""
FINE = ("sparsity", "fraction", "margin")
"""Shares that are set, not measured: their digits tell them apart."""
_SHARE = re.compile(
    r"(last_|source_val_|best_val_|dense_)?(SA|RA)(_[a-z_][a-z0-9_]*?)?(_(mean|std|min|max|median))?$"
    r"|(train/accuracy|(val|probe)/.*)$"
)
_COUNTS = ("_n", "_missing", "_matching")


def is_share(name: str) -> bool:
    """Does a column or a score of this name hold shares in [0, 1]?"""
    return name in FINE or (bool(_SHARE.match(name)) and not name.endswith(_COUNTS))


def readable(table: pd.DataFrame, also: Iterable[str] = ()) -> pd.DataFrame:
    """A table with its shares, and those of the columns `also`, in percent, and its keys cut to
    what tells them apart."""
    also = set(also)
    shares = [name for name in table if name in also or is_share(str(name))]
    shown = table.copy()
    for name in shares:
        digits = 2 if name in FINE or name in also else 1
        shown[name] = (100 * table[name]).map(lambda value, n=digits: f"{value:.{n}f}", "ignore")
    if "key" in shown:
        shown["key"] = shortened(table["key"])
    return shown.rename(columns={name: f"{name} %" for name in shares})


def formatted(table: pd.DataFrame, form: Format, shares: Iterable[str] = ()) -> str:
    """A table as text: `readable` unless programs read it; `shares` as its `also`."""
    return format_table(table if form in DATA else readable(table, shares), form)


def shortened(keys: pd.Series) -> pd.Series:
    """Keys cut to as many digits as tell them apart, and no fewer than SHORTEST."""
    whole = keys.nunique()
    longest = int(keys.str.len().max()) if len(keys) else SHORTEST
    lengths = range(SHORTEST, longest + 1)
    enough = next((n for n in lengths if keys.str[:n].nunique() == whole), longest)
    return keys.str[:enough]


def for_paper(table: pd.DataFrame, thetas: Iterable[str]) -> pd.DataFrame:
    """A table of shares for a paper: columns of thetas in percent and in the paper's signs, words
    for titles, without the share of the data where it is all."""
    thetas = [name for name in thetas if name in table]
    whole = ["fraction"] if "fraction" in table and (table["fraction"] == 1).all() else []
    shown = readable(table.drop(columns=whole), thetas)
    titles = {f"{name} %": f"{theta_label(name)}, %" for name in thetas}
    return shown.rename(columns=lambda name: titles.get(name, str(name).capitalize()))


def brief(table: pd.DataFrame, labels: Iterable[str]) -> pd.DataFrame:
    """Of a table of transfers what one row is read by: what tells them apart, their scores, how
    long they took, their keys; where they did not all train to their end, their states."""
    telling = [name for name in labels if name in table and _varies(table[name])]
    state = ["state"] if (table["state"] != "complete").any() else []
    return table[[*telling, "SA", "RA", "seconds", *state, "key"]]


def _varies(column: pd.Series) -> bool:
    return len(column) < 2 or column.nunique() > 1
