"""From an MLflow store to a table: a study's transfers with their labels and scores."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.store import artifacts, versions
from analysis.store.runs import Run, address, opened
from analysis.store.versions import Version
from analysis.tables import search
from analysis.verdict.records import Correct, unpack
from analysis.verdict.results import LABELS, Results, frame, row
from search_spaces import grid, trials
from search_spaces.study import Study

CORRECT_FILE = "correct.npz"
FINISHED = "FINISHED"

# Metric -> signal; with an underscore: as earlier versions called it.
PROBES = {f"probe{mark}{signal}": signal for signal in ("FGSM", "PGD") for mark in "/_"}


@dataclass(frozen=True)
class TrackedResults(Results):
    """Results that MLflow holds. cells: every transfer of the study by its key; of searches, those
    that are finished. version: the one that is read, of all that the store has of the study."""

    cells: Mapping[str, grid.TransferCell] = field(kw_only=True)
    version: Version = field(kw_only=True)
    versions: Sequence[Version] = field(kw_only=True)

    @property
    def parent(self) -> Run:
        """The run that stands for the study."""
        return self.version.run

    @property
    def title(self) -> str:
        """What `--study` calls it."""
        return versions.title(self.version, self.versions)

    @property
    def origin(self) -> str:
        """What the study is called on a command line: its name, or the path it was run by."""
        return shlex.quote(self.parent.tags.get("origin", self.study.name))


def load(
    study: str | None = None, tracking_uri: str | None = None, with_correct: bool = False
) -> TrackedResults:
    """Reads a study, or a version of one, as `versions.chosen` finds it, from an MLflow store
    (default: as mlflow's own); `with_correct`: also which test images its transfers get right.

    A transfer is found by its content key among the experiment's finished runs, so its labels are
    those of the study as it is now. Of several runs with one key the latest counts. Raises
    InputError if the store cannot be read, or does not hold the study.
    """
    uri = address(tracking_uri)
    with opened(uri) as store:
        version, among = versions.chosen(store, study, uri)
        content = versions.stored(version.run, uri)
        runs = latest(store.runs(["transfer"], version.run.experiment))
    transfers = grid.expand(content).transfers.items()
    # What a search has not asked for is not missing.
    cells = {key: cell for key, cell in transfers if key in runs or not cell.optional}
    table = frame(_row(key, cell, runs.get(key)) for key, cell in cells.items())
    correct = _correct(version.run, uri) if with_correct else {}
    return TrackedResults(content, table, correct, cells=cells, version=version, versions=among)


def latest(runs: Iterable[Run]) -> dict[str, Run]:
    """Content key -> the latest finished run of that key."""
    finished = [run for run in runs if run.status == FINISHED and "key" in run.tags]
    return {run.tags["key"]: run for run in sorted(finished, key=lambda run: run.when)}


def probe_curves(results: TrackedResults, tracking_uri: str | None = None) -> pd.DataFrame:
    """The signals of catastrophic overfitting: a row for each epoch of each watched transfer.

    Columns: the labels, key, state, epoch (from 1), FGSM and PGD (accuracy in [0, 1] on the probe
    under the training's own attack and under PGD). Transfers that were not watched have no rows.
    """
    with opened(address(tracking_uri)) as store:
        points = list(store.histories(list(results.table["run_id"]), list(PROBES)))
    histories = pd.DataFrame(points, columns=["run_id", "signal", "epoch", "value"])
    histories["signal"] = histories["signal"].map(PROBES)
    wide = histories.pivot_table(index=["run_id", "epoch"], columns="signal", values="value")
    wide = wide.reindex(columns=["FGSM", "PGD"]).dropna().reset_index()
    labelled = results.table[[*LABELS, "key", "state", "run_id"]].merge(wide, on="run_id")
    return labelled.drop(columns="run_id")


def search_trials(
    study: str | None = None, tracking_uri: str | None = None
) -> tuple[Study, pd.DataFrame]:
    """A study (default: the latest) and the finished trials of its search, in the order in which
    they ended; the table is `search_tables.frame`'s. Raises InputError as `load` does, or if the
    study has no search."""
    uri = address(tracking_uri)
    with opened(uri) as store:
        version, _ = versions.chosen(store, study, uri)
        content = versions.stored(version.run, uri)
        runs = latest(store.runs(["search"], version.run.experiment))
    rows = []
    for name, run in runs.items():
        point = trials.point_from(content, json.loads(run.tags["values"]), name)
        if point is not None:
            scores = {score: run.metrics.get(f"best_val_{score}") for score in ("SA", "RA")}
            rest = {part: run.metrics.get(part) for part in ("epochs", "seconds")}
            rows.append({"key": name, "state": run.tags["state"], **point, **scores, **rest})
    return content, search.frame(content, rows)


def _correct(parent: Run, uri: str) -> Correct:
    """Which test images each transfer gets right; empty where that was not logged."""
    content = artifacts.read(parent, CORRECT_FILE, uri)
    return {} if content is None else unpack(content)


def tags(results: TrackedResults, tracking_uri: str | None = None) -> dict[str, set[str]]:
    """What the study's finished transfers ran on and with: tag -> its values."""
    finished = set(results.table["run_id"])
    with opened(address(tracking_uri)) as store:
        runs = [
            run
            for run in store.runs(["transfer"], results.parent.experiment)
            if run.run_id in finished
        ]
    names = ("torch", "device", "host")
    return {name: {run.tags[name] for run in runs if name in run.tags} for name in names}


def source_seconds(results: TrackedResults, tracking_uri: str | None = None) -> dict[str, float]:
    """Key of each finished theta and ticket -> seconds it took."""
    with opened(address(tracking_uri)) as store:
        runs = latest(store.runs(["pretraining", "ticket"], results.parent.experiment))
    return {key: run.metrics.get("seconds", 0.0) for key, run in runs.items()}


def _row(key: str, cell: grid.TransferCell, run: Run | None) -> dict[str, Any]:
    if run is None:
        return row(cell.labels, key)
    return row(cell.labels, key, run.tags.get("state", ""), run.metrics, run.run_id)
