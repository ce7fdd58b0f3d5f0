"""A study's results as one table: what every verdict, figure and report is made of.

Two builders make it, one from the ledger (tuner) and one from MLflow (`store.load`); for a study
whose results both hold, they make the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.verdict.records import Correct
from search_spaces.study import Study

LABELS = {
    "theta": "str",
    "pruning": "str",
    "level": "int64",
    "sparsity": "float64",
    "dataset": "str",
    "fraction": "float64",
    "regime": "str",
    "source_seed": "int64",
    "seed": "int64",
}
"""What tells a transfer from the study's others; sparsity is a share in [0, 1); source_seed is
theta's and its ticket's, seed the transfer's."""
SCORES = {
    "SA": "float64",
    "RA": "float64",
    "last_SA": "float64",
    "last_RA": "float64",
    "chance": "float64",
    "best_epoch": "Int64",
    "epochs": "Int64",
    "seconds": "float64",
}
"""Test scores of the best state and of the last, shares in [0, 1]; the commonest class's share of
the test images, missing where a result of an earlier version lacks it; the epoch of the best state
and how many were trained; wall time."""
COLUMNS = {**LABELS, "key": "str", "state": "str", **SCORES, "run_id": "str"}
"""key: the transfer's content key; state: complete, co_stopped, diverged or missing; run_id: its
run in MLflow, empty where that is not known."""
MISSING = "missing"


@dataclass(frozen=True)
class Results:
    """A study and its transfers.

    expected: a row for every transfer that the study asks for, in the study's order, with the
    columns of COLUMNS; those without a result are `missing` and have no scores. Of levels that are
    searched for, a row for each that was asked for, as far as the builder knows. correct: which
    test images the transfers get right; empty where that was not recorded or not read.
    """

    study: Study
    expected: pd.DataFrame
    correct: Correct = field(default_factory=dict)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows that have a result."""
        return self.expected[self.expected["state"] != MISSING].reset_index(drop=True)

    @cached_property
    def missing(self) -> pd.DataFrame:
        """Labels and keys of the transfers that have none."""
        rows = self.expected[self.expected["state"] == MISSING]
        return rows[[*LABELS, "key"]].reset_index(drop=True)


def row(
    labels: Mapping[str, str | int | float],
    key: str,
    state: str = MISSING,
    scores: Mapping[str, float | None] | None = None,
    run_id: str = "",
) -> dict[str, Any]:
    """One transfer, by the columns of COLUMNS; of `scores`, those that are among SCORES."""
    known = scores or {}
    values = {name: known.get(name) for name in SCORES}
    return {**labels, "key": key, "state": state, **values, "run_id": run_id}


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table of COLUMNS."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS)
