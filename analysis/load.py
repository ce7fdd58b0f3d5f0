"""From an MLflow store to a table: the only reader of MLflow."""

import difflib
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Read by mlflow when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A reader waits for somebody: one retry (2 s), not mlflow's seven (4 minutes).
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

import pandas as pd
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from analysis import search_tables
from analysis.records import Correct, unpack
from search_spaces import grid, reading, trials
from search_spaces.errors import InputError
from search_spaces.study import Study

logging.getLogger("alembic").setLevel(logging.ERROR)

DEFAULT_URI = "sqlite:///mlflow.db"
STUDY_FILE = "study.yaml"
CORRECT_FILE = "correct.npz"
PAGE = 1000

LABELS = {
    "theta": "str",
    "pruning": "str",
    "level": "int64",
    "sparsity": "float64",
    "dataset": "str",
    "fraction": "float64",
    "regime": "str",
    "seed": "int64",
}
SCORES = {
    "SA": "float64",
    "RA": "float64",
    "last_SA": "float64",
    "last_RA": "float64",
    "best_epoch": "Int64",
    "epochs": "Int64",
    "seconds": "float64",
}
COLUMNS = {**LABELS, "key": "str", "state": "str", **SCORES, "run_id": "str"}


@dataclass(frozen=True)
class Results:
    """A study and what MLflow holds of it.

    table: one row per finished transfer, in the study's order, with the columns of COLUMNS; SA, RA
    and sparsity are shares in [0, 1], seconds is wall time. missing: the study's other transfers,
    but for those that a search decides on. correct: content key -> score ("SA", "RA") -> (N,) bool,
    which test images a transfer gets right; empty where that was not logged.
    """

    study: Study
    table: pd.DataFrame
    missing: list[grid.TransferCell]
    parent_run_id: str
    correct: Correct

    @property
    def expected(self) -> pd.DataFrame:
        """The table with a row for every transfer of the study; the missing ones have no scores."""
        return pd.concat([self.table, _frame([_row(cell, None) for cell in self.missing])])


def load(study: str | None = None, tracking_uri: str | None = None) -> Results:
    """Reads a study (default: the latest) from an MLflow store (default: as mlflow's own).

    A transfer is found by its content key among the experiment's finished runs, so its labels are
    those of the study as it is now. Of several runs with one key the latest counts. Raises
    InputError if the store cannot be read, or does not hold the study.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    _check_store(uri)
    with _explained(uri):
        client = MlflowClient(tracking_uri=uri)
        parent = _parent(client, study, uri)
        content = _study(client, parent)
        runs = _finished_transfers(client, parent.info.experiment_id)
    cells = grid.transfers(content)
    rows = [_row(cell, runs[cell.key]) for cell in cells if cell.key in runs]
    missing = [cell for cell in cells if cell.key not in runs and not cell.optional]
    with _explained(uri):
        correct = _correct(client, parent)
    return Results(content, _frame(rows), missing, parent.info.run_id, correct)


def probe_curves(results: Results, tracking_uri: str | None = None) -> pd.DataFrame:
    """The signals of catastrophic overfitting: a row for each epoch of each watched transfer.

    Columns: the labels, key, state, epoch (from 1), FGSM and PGD (accuracy in [0, 1] on the probe
    under the training's own attack and under PGD). Transfers that were not watched have no rows.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    rows: list[dict[Any, Any]] = []
    with _explained(uri):
        client = MlflowClient(tracking_uri=uri)
        for transfer in results.table.to_dict("records"):
            fgsm, pgd = (
                {m.step: m.value for m in client.get_metric_history(transfer["run_id"], name)}
                for name in ("probe_FGSM", "probe_PGD")
            )
            labels = {name: transfer[name] for name in (*LABELS, "key", "state")}
            rows += [{**labels, "epoch": e, "FGSM": fgsm[e], "PGD": pgd[e]} for e in sorted(pgd)]
    return pd.DataFrame(rows, columns=[*LABELS, "key", "state", "epoch", "FGSM", "PGD"])


def search_trials(
    study: str | None = None, tracking_uri: str | None = None
) -> tuple[Study, pd.DataFrame]:
    """A study (default: the latest) and the finished trials of its search, in the order in which
    they ended; the table is `search_tables.frame`'s. Raises InputError as `load` does, or if the
    study has no search."""
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    _check_store(uri)
    with _explained(uri):
        client = MlflowClient(tracking_uri=uri)
        parent = _parent(client, study, uri)
        content = _study(client, parent)
        query = "tags.stage = 'search' AND attributes.status = 'FINISHED'"
        runs = sorted(_runs(client, [parent.info.experiment_id], query), key=_when)
    rows = []
    for run in {run.data.tags["key"]: run for run in runs}.values():
        tags, metrics = run.data.tags, run.data.metrics
        point = trials.point_from(content, json.loads(tags["values"]), tags["key"])
        if point is not None:
            scores = {name: metrics.get(f"best_val_{name}") for name in ("SA", "RA")}
            rest = {"epochs": metrics.get("epochs"), "seconds": metrics.get("seconds")}
            rows.append({"key": tags["key"], "state": tags["state"], **point, **scores, **rest})
    return content, search_tables.frame(content, rows)


def _check_store(uri: str) -> None:
    """Refuses a sqlite file that is not an MLflow store: mlflow would create one in its place."""
    if not uri.startswith("sqlite:"):
        return
    path = Path(uri.partition("sqlite:///")[2].partition("?")[0])
    remedy = "pass --tracking-uri, or run a study first: python -m tuner run quickstart"
    if not path.is_file():
        raise InputError(f"tracking store {uri}: there is no such file: {remedy}")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiments'"
            known = database.execute(query).fetchone()
    except sqlite3.Error:
        known = None
    if not known:
        raise InputError(f"tracking store {uri}: not an MLflow database: {remedy}")


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turns the store's own failures into one line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"tracking store {uri}: cannot be read: {reason:.200}") from None


def _parent(client: MlflowClient, study: str | None, uri: str) -> Run:
    """The run that stands for the study: of several the latest, by end or start."""
    experiments: list[Experiment] = _pages(
        lambda token: client.search_experiments(max_results=PAGE, page_token=token)
    )
    names = {experiment.experiment_id: experiment.name for experiment in experiments}
    parents = sorted(_runs(client, list(names), "tags.stage = 'study'"), key=_when)
    if not parents:
        raise InputError(
            f"tracking store {uri}: holds no study yet: python -m tuner run quickstart"
        )
    if study is None:
        return parents[-1]
    known = {names[parent.info.experiment_id]: parent for parent in parents}
    if study not in known:
        near = difflib.get_close_matches(study, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"study {study}: not in {uri}: {hint}it holds {', '.join(sorted(known))}")
    return known[study]


def _study(client: MlflowClient, parent: Run) -> Study:
    origin = f"{STUDY_FILE} of run {parent.info.run_id}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(client.download_artifacts(parent.info.run_id, STUDY_FILE, folder))
        data = reading.parse(path.read_text(encoding="utf-8"), origin)
    return reading.validate(data, origin)


def _correct(client: MlflowClient, parent: Run) -> Correct:
    run = parent.info.run_id
    if CORRECT_FILE not in {item.path for item in client.list_artifacts(run)}:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run, CORRECT_FILE, folder)
        return unpack(Path(path).read_bytes())


def _finished_transfers(client: MlflowClient, experiment_id: str) -> dict[str, Run]:
    """Content key -> run."""
    query = "tags.stage = 'transfer' AND attributes.status = 'FINISHED'"
    runs = sorted(_runs(client, [experiment_id], query), key=_when)
    return {run.data.tags["key"]: run for run in runs if "key" in run.data.tags}


def _runs(client: MlflowClient, experiments: list[str], query: str) -> list[Run]:
    return _pages(
        lambda token: client.search_runs(experiments, query, max_results=PAGE, page_token=token)
    )


def _pages(search: Callable[[str | None], Any]) -> list[Any]:
    """All items of a search that answers a page at a time."""
    page = search(None)
    items = list(page)
    while page.token:
        page = search(page.token)
        items.extend(page)
    return items


def _when(run: Run) -> int:
    """Milliseconds since 1970 of a run's end, or of its start while it runs."""
    return int(run.info.end_time or run.info.start_time)


def _row(cell: grid.TransferCell, run: Run | None) -> dict[str, Any]:
    row: dict[str, Any] = {**cell.labels, "key": cell.key}
    if run is not None:
        scores = {name: run.data.metrics.get(name) for name in SCORES}
        row |= {"state": run.data.tags.get("state"), **scores, "run_id": run.info.run_id}
    return row


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
