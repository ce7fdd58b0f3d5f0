"""Computed evidence as `python -m tuner evidence` left it among the study's artifacts.

evidence/index.json says what each table is; evidence/TABLE.json is a list of records, named by the
labels of its transfer or ticket (a pair's behind first_ and second_); npz files lie beside them.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.store import artifacts
from analysis.store.runs import Run
from search_spaces.errors import InputError

FOLDER = "evidence"


@dataclass(frozen=True)
class Evidence:
    """The evidence of a study: what each table is, by its name, and a door to the files."""

    about: Mapping[str, str]
    parent: Run
    uri: str

    def table(self, name: str) -> pd.DataFrame:
        """A table's records, one a row; empty if it is not there."""
        content = artifacts.read(self.parent, f"{FOLDER}/{name}.json", self.uri)
        return pd.DataFrame(json.loads(content) if content else [])

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of an npz file, by the name a record gives it.

        Raises InputError if it is not there.
        """
        content = artifacts.read(self.parent, name, self.uri)
        if content is None:
            raise InputError(f"{name}: is not among the artifacts of run {self.parent.run_id}")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(file)


def read(parent: Run, uri: str) -> Evidence | None:
    """The evidence of the study whose run is `parent`; None if none was computed."""
    content = artifacts.read(parent, f"{FOLDER}/index.json", uri)
    if content is None:
        return None
    index: dict[str, Any] = json.loads(content)
    return Evidence(index.get("tables", {}), parent, uri)


def flags(parent: Run, uri: str) -> pd.DataFrame:
    """The study's signs of masked gradients, a row each; empty if none was found or looked for."""
    return _rows(parent, uri, "flags")


def autoattacks(parent: Run, uri: str) -> pd.DataFrame:
    """What AutoAttack left of the study's transfers, a row each; empty where none was made."""
    return _rows(parent, uri, "autoattack")


def _rows(parent: Run, uri: str, table: str) -> pd.DataFrame:
    gathered = read(parent, uri)
    return gathered.table(table) if gathered else pd.DataFrame()
