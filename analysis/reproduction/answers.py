"""What is asked of a study's results, and what they say.

Thetas and prunings go by the names that the shipped studies give them. Shares are in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import pandas as pd

from analysis.verdict import completeness
from analysis.verdict.results import LABELS, Results
from search_spaces.grid import DENSE, margin

THETAS = ("standard", "fast_adversarial", "adversarial")
IMP = "imp"
Labels = Mapping[Any, Any]


@dataclass(frozen=True)
class Held:
    """A study's results as a store holds them. metrics: of each transfer's run by its key;
    evidence: a table by its name, empty where none was computed."""

    results: Results
    metrics: Mapping[str, Mapping[str, float]]
    evidence: Callable[[str], pd.DataFrame]

    @cached_property
    def labels(self) -> Sequence[Labels]:
        """Those of every transfer of the study, in its order."""
        return self.results.expected[list(LABELS)].to_dict("records")

    @cached_property
    def learnt(self) -> set[tuple[str, str, float]]:
        """(theta, data set, fraction) of the dense networks that have learnt something: of others
        every ticket is as good, and says nothing."""
        table, study = self.results.expected, self.results.study
        tasks: Any = table[table["pruning"] == DENSE].groupby(["theta", "dataset", "fraction"])
        return {
            (theta, dataset, fraction)
            for (theta, dataset, fraction), dense in tasks
            if completeness.no_verdict(dense, margin(study, dataset, fraction)) is None
        }


@dataclass(frozen=True)
class Answer:
    """What a study says. value: a share, where the paper states one; holds: of a claim, is it seen
    (None: undecided, or nothing to decide); missing: how many of the transfers it needs have no
    scores yet."""

    text: str
    value: float | None = None
    holds: bool | None = None
    missing: int = 0


class Question(Protocol):
    """What is asked of a study."""

    @property
    def transferred(self) -> bool:
        """Are transfers needed, or tickets alone?"""

    def needs(self, labels: Labels) -> bool:
        """Is a transfer with these labels (or the ticket it starts from) needed?"""

    def answer(self, held: Held) -> Answer | None:
        """What the results say; None where they do not have what is needed."""


@dataclass(frozen=True)
class Transferred:
    """A question about transfers."""

    transferred = True


def needed(question: Question, held: Held) -> pd.DataFrame:
    """The rows of a study's transfers that a question needs."""
    wanted = [place for place, labels in enumerate(held.labels) if question.needs(labels)]
    return held.results.expected.iloc[wanted]


def judged(question: Question, held: Held) -> pd.DataFrame:
    """Of the rows that a question needs, those held against a dense network that has learnt
    something."""
    rows = needed(question, held)
    tasks = rows[["theta", "dataset", "fraction"]].itertuples(index=False, name=None)
    return rows[pd.Series([task in held.learnt for task in tasks], rows.index, dtype=bool)]


def missing(rows: pd.DataFrame) -> int:
    """How many of them have no scores yet."""
    return int(completeness.lacking(rows).sum())


def percent(share: float) -> str:
    """A share, as sparsities are written."""
    return f"{100 * share:.2f} %"
