"""A study as a value: read, changed, planned, run."""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

import search_spaces.study
from doublewin import process
from doublewin.results import Results
from search_spaces.reading import studies
from trainables.store.ledger import Ledger
from tuner.options import load
from tuner.runtime.progress import Progress
from tuner.runtime.settings import Origin, Settings
from tuner.scheduling.worklist import Worklist, worklist
from tuner.storage import state


@dataclass(frozen=True)
class Study:
    """A study as it was asked for: a shipped one's name or a path, and what is changed in it.

    Made by `Study.load`. data: the folder of data sets and weights.
    """

    origin: Origin
    data: Path = Settings.data

    @classmethod
    def load(cls, study: str | Path, data: str | Path = Settings.data) -> "Study":
        """A shipped study by its name, or a YAML file by its path. Raises InputError if it is
        neither, or breaks a rule of the fields."""
        return cls(Origin(str(study)), Path(data))._checked()

    @staticmethod
    def shipped() -> list[str]:
        """Names of the studies that come with the platform."""
        return list(studies.shipped())

    def with_(self, changes: Mapping[str, Any]) -> "Study":
        """The same with fields replaced: path -> value, as in {"downstream.0.seeds": [0, 1]}. Paths
        are those of docs/fields.md, values what YAML would hold. Raises InputError for a path or a
        value that the study cannot have."""
        added = tuple(f"{path}={json.dumps(value)}" for path, value in changes.items())
        overrides = (*self.origin.overrides, *added)
        return replace(self, origin=replace(self.origin, overrides=overrides))._checked()

    @cached_property
    def content(self) -> search_spaces.study.Study:
        """All fields, those at their defaults among them."""
        return studies.load(self.origin.study, self.origin.overrides)

    def plan(self, storage: str | Path = Settings.storage) -> pd.DataFrame:
        """How much of which work there is, and how much is complete in a storage: a row for each
        stage and kind of work. Raises InputError if data or weights are not there."""
        return pd.DataFrame(state.counts(self._work(storage)))

    def results(self, storage: str | Path = Settings.storage) -> Results:
        """What a storage holds of the study, complete or not; nothing is run."""
        return Results(self._work(storage))

    def run(
        self,
        storage: str | Path = Settings.storage,
        *,
        progress: Callable[[Progress], object] | None = None,
        address: str | None = None,
        workers: int | None = None,
        cpus_per_trial: float | None = None,
        gpus_per_trial: float | None = None,
        settle: bool = False,
        retry_failed: bool = False,
    ) -> Results:
        """Does what is not complete yet, as `python -m tuner run` does, and returns all there is.

        progress hears of every change (`progress=print` prints it); the other arguments are the
        command's options. Stopping it, by a notebook's button or Ctrl-C, keeps what is complete:
        run again to go on. Warns if something failed. Raises InputError, with nothing started, for
        what can be seen to be wrong.
        """
        given = {
            "--storage": storage,
            "--data": self.data,
            "--address": address,
            "--workers": workers,
            "--cpus-per-trial": cpus_per_trial,
            "--gpus-per-trial": gpus_per_trial,
        }
        options = [f"{name}={value}" for name, value in given.items() if value is not None]
        options += [f"--set={override}" for override in self.origin.overrides]
        options += ["--settle"] * settle + ["--retry-failed"] * retry_failed
        ended = process.run([*options, "--", self.origin.study], progress)
        if ended.code:
            warnings.warn(f"{self.content.name} is not complete:\n{ended.printed}", stacklevel=2)
        return self.results(storage)

    def _checked(self) -> "Study":
        """Itself, its fields read."""
        _ = self.content
        return self

    def _work(self, storage: str | Path) -> Worklist:
        return worklist(load(self.origin, self.data), Ledger(Path(storage).resolve()))
