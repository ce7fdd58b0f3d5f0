"""Signs of masked gradients: they stand between a level and its verdict until looked at.

A flag doubts the robust accuracy of one transfer: it may be an attack's failure. What a verdict
reads of it are the level that wins and the dense network it is held against; a level that loses by
an accuracy that is too high loses all the more by the true one. A study acknowledges a flag by
`looked_at: {KEY: why it is sound}`.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.verdict.completeness import counted
from analysis.verdict.one_std import GROUP, METRICS, extreme
from analysis.verdict.results import Results
from analysis.verdict.rules import non_inferiority
from search_spaces.grid import DENSE

CELL = [*GROUP, "level"]
# Robust accuracy under other regimes is shown, and enters no verdict.
JUDGED = {metric.regime for metric in METRICS if metric.score == "RA"}


def verdicts(results: Results, flags: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(`one_std.extreme`, `rules.non_inferiority`) of a study, blocked where flags are open.

    flags: a row per flag, as evidence has them. Both tables get the columns of
    `completeness.counted` and the column `flagged`: "look at KEY, ..." or "". Where that stands,
    the second's status is "flagged" and its advice what to look at.
    """
    study, table = results.study, results.expected
    shown = counted(non_inferiority(study, table, results.correct), table)
    judged = counted(_withheld(extreme(table), shown), table)
    judged = judged.assign(flagged=open_flags(judged, flags, study.looked_at))
    shown = shown.assign(flagged=open_flags(shown, flags, study.looked_at))
    blocked = shown["flagged"] != ""
    shown["status"] = shown["status"].mask(blocked, "flagged")
    shown["advice"] = shown["advice"].mask(blocked, shown["flagged"])
    return judged, shown


def _withheld(judged: pd.DataFrame, shown: pd.DataFrame) -> pd.DataFrame:
    """What a network that knows nothing would pass too is no verdict by either rule: `judged`
    without a level where the status in `shown` is none, and why."""
    reasons = shown[shown["status"] == "none"].set_index(GROUP)["advice"].to_dict()
    groups = judged[GROUP].itertuples(index=False, name=None)
    why = pd.Series([reasons.get(group, "") for group in groups], index=judged.index, dtype="str")
    numbers = [f"{m.name}_{part}" for m in METRICS for part in ("mean", "std")]
    judged.loc[why != "", ["level", "sparsity", *numbers]] = pd.NA
    judged["lower_levels"] = judged["lower_levels"].mask(why != "", "no verdict")
    return judged.assign(note=judged["note"].mask(why != "", why))


def open_flags(
    judged: pd.DataFrame, flags: pd.DataFrame, looked_at: Mapping[str, str]
) -> list[str]:
    """For each row, named by group and level: "look at KEY, ..." where flagged transfers of that
    level, or of the dense network, are not in `looked_at`; else ""."""
    keys = keys_by_cell(flags[~flags["key"].isin(list(looked_at))] if len(flags) else flags)
    advice = []
    for *group, level in judged[CELL].itertuples(index=False, name=None):
        flagged = keys_behind(keys, group, level)
        advice.append(f"look at {', '.join(flagged)}" if flagged else "")
    return advice


def arrived(levels: pd.DataFrame, verdict: pd.DataFrame) -> list[bool]:
    """For each row of a table of levels whether it is the pruned level that a verdict, one of the
    tables of `verdicts`, arrives at, with no flag open."""
    sound = verdict[(verdict["flagged"] == "") & verdict["level"].gt(0).fillna(value=False)]
    wins = set(sound[CELL].itertuples(index=False, name=None))
    return [row in wins for row in levels[CELL].itertuples(index=False, name=None)]


def keys_by_cell(flags: pd.DataFrame) -> dict[tuple[Any, ...], list[str]]:
    """(theta, pruning, dataset, fraction, level) -> the keys of its flagged transfers that count
    in a verdict, each once."""
    keys: dict[tuple[Any, ...], list[str]] = {}
    for row in flags.to_dict("records"):
        cell = keys.setdefault(tuple(row[name] for name in CELL), [])
        if row["regime"] in JUDGED and row["key"] not in cell:
            cell.append(row["key"])
    return keys


def keys_behind(
    keys: Mapping[tuple[Any, ...], list[str]], group: list[Any], level: Any
) -> list[str]:
    """Those of a level of a group (theta, pruning, dataset, fraction) and of its dense network."""
    theta, _, dataset, fraction = group
    dense = keys.get((theta, DENSE, dataset, fraction, 0), [])
    own = [] if pd.isna(level) else keys.get((*group, level), [])
    return [*dict.fromkeys([*dense, *own])]


def acknowledged(flags: pd.DataFrame, looked_at: Mapping[str, str]) -> dict[str, str]:
    """Key -> why it is sound, of the flagged transfers that the study has looked at."""
    raised = set(flags["key"]) if len(flags) else set()
    return {name: why for name, why in looked_at.items() if name in raised}
