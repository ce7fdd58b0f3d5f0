"""What the run that stands for a study says in parameters and metrics: its settings and verdict."""

import re
from typing import TYPE_CHECKING, Any

from search_spaces.reading.differences import leaves
from search_spaces.study import Study

if TYPE_CHECKING:
    import pandas as pd

_ELSEWHERE = ("search", "looked_at")
_PLACES = "path"
_ENDS = {
    "shown_sparsity": "sparsity",
    "shown_level": "level",
    "interval_low": "low_sparsity",
    "interval_high": "high_sparsity",
}
"""Metric -> column of the verdict by evidence."""


def params(study: Study) -> dict[str, str]:
    """A study's settings by dotted path, as `--set` takes them; not where files lie, which differs
    from machine to machine."""
    content = study.model_dump(mode="json", exclude_none=True, exclude=set(_ELSEWHERE))
    return {".".join(path): str(value) for path, value in leaves(content) if path[-1] != _PLACES}


def metrics(verdict: "pd.DataFrame", shown: "pd.DataFrame") -> dict[str, float]:
    """The numbers of a verdict by name, shares in [0, 1]: WHAT/THETA/PRUNING/TASK of the sparsest
    ticket that is shown to match, of the ends of the extreme's 90 % interval and of the paper's
    extreme; SCORE_REGIME_dense/THETA/TASK of dense networks. What is not known has none.

    verdict, shown: the two tables of `flags.verdicts`.
    """
    import pandas as pd

    from analysis.verdict.one_std import METRICS

    found: dict[str, Any] = {}
    for row in shown.to_dict("records"):
        where = f"{row['theta']}/{row['pruning']}/{_task(row)}"
        found |= {f"{name}/{where}": row[column] for name, column in _ENDS.items()}
    for row in verdict.to_dict("records"):
        found[f"paper_sparsity/{row['theta']}/{row['pruning']}/{_task(row)}"] = row["sparsity"]
    for row in verdict.to_dict("records"):
        where = f"{row['theta']}/{_task(row)}"
        for metric in METRICS:
            found[f"{metric.name}_dense/{where}"] = row.get(f"{metric.name}_dense_mean")
    return {name: float(value) for name, value in found.items() if not pd.isna(value)}


def _task(row: dict[Any, Any]) -> str:
    share = "" if row["fraction"] == 1 else f" {100 * row['fraction']:g} percent"
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{row['dataset']}{share}")
