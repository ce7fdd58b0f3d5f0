"""What is said beside a verdict: of the levels below it, and of what it lacks.

pruned: the rows of `verdict.levels_table` for one theta, pruning and task, without the dense one.
"""

import pandas as pd


def lower_levels(level: int, lower: pd.DataFrame, pruned: pd.DataFrame) -> str:
    """Whether all levels below the extreme one are double wins too, or which are not."""
    if level == 0:
        return "none match" if pruned["complete"].any() else "none complete"
    if lower.empty:
        return "none tested"
    failing = lower[lower["complete"] & ~lower["double_win"]]
    incomplete = lower[~lower["complete"]]
    parts = []
    if len(failing):
        parts.append(f"{_percents(failing)} {'does' if len(failing) == 1 else 'do'} not")
    if len(incomplete):
        parts.append(f"{_percents(incomplete)} incomplete")
    return "; ".join(parts) or "all match"


def note(level: int, dense: pd.Series, pruned: pd.DataFrame) -> str:
    """Which levels are missing, wholly or in part, or cannot be held against the dense network."""
    parts = []
    incomplete = pruned[~pruned["complete"]]
    if len(incomplete):
        parts.append(f"incomplete: {_percents(incomplete)}")
        if incomplete["level"].max() > level:
            parts[-1] += ", the extreme may be higher"
    complete = pruned[pruned["complete"]]
    lacking = [f"dense ({dense['missing']} of {dense['seeds']})"] if dense["missing"] else []
    for row in complete[complete["missing"] > 0].to_dict("records"):
        lacking.append(f"{100 * row['sparsity']:.2f} % ({row['missing']} of {row['seeds']})")
    if lacking:
        parts.append(f"missing seeds: {', '.join(lacking)}")
    unequal = complete[~complete["same_seeds"] & (complete["missing"] == 0)]
    if len(unequal):
        parts.append(f"other seeds than the dense network's: {_percents(unequal)}")
    if dense["n"] == 1:
        parts.append("1 seed: no spread")
    return "; ".join(parts)


def _percents(levels: pd.DataFrame) -> str:
    return ", ".join(f"{100 * sparsity:.2f}" for sparsity in levels["sparsity"]) + " %"
