"""The only writer of runs to MLflow: derived from the ledger, by the driver alone.

One experiment a study, a parent run for the study, child runs for thetas, tickets and transfers.
A run is FINISHED only when all of it is written; runs cut short are removed and written again.
"""

import logging
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from analysis.disclosure import public, signed_in, without_secrets
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.study import Study
from trainables.ledger import Ledger
from tuner import notes
from tuner.entries import Entry, entries, metrics, params, tags

SQLITE = "sqlite:///"
DEFAULT_URI = f"{SQLITE}mlflow.db"
# A server that is not there is to be named within seconds, not after minutes of retries.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}
_METRICS_A_CALL = 1000
_PARAMS_A_CALL = 100
_LONGEST_PARAM = 500


@dataclass
class Tracker:
    """A study's window in MLflow, connected. `runs`: content key -> run of what is written."""

    client: Any
    uri: str
    study: Study
    ledger: Ledger
    experiment: str
    parent: str
    runs: dict[str, str] = field(default_factory=dict)

    def log(self, entry: Entry) -> None:
        """Writes one complete result as a child run; does nothing for one that is there."""
        from mlflow.entities import Metric, Param

        name = key(entry.spec)
        if name in self.runs:
            return
        result = self.ledger.result(entry.spec)
        run = self.client.create_run(
            self.experiment,
            start_time=int(1000 * result["started"]),
            run_name=entry.name,
            tags={"mlflow.parentRunId": self.parent, **tags(entry, result)},
        )
        run_id = run.info.run_id
        settings = [Param(name, value[:_LONGEST_PARAM]) for name, value in params(entry).items()]
        self.client.log_batch(run_id, params=settings[:_PARAMS_A_CALL])
        values = [Metric(m.name, m.value, int(1000 * m.time), m.step) for m in metrics(result)]
        for start in range(0, len(values), _METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=values[start : start + _METRICS_A_CALL])
        if entry.stage == "ticket":
            folder = self.ledger.folder(entry.spec)
            for file in ("mask.safetensors", "result.json", "spec.json"):
                self.client.log_artifact(run_id, str(folder / file), "ticket")
        self.client.set_terminated(run_id, end_time=int(1000 * result["ended"]))
        self.runs[name] = run_id

    def catch_up(self) -> None:
        """Writes every complete result of the study that MLflow lacks."""
        for entry in entries(self.study):
            if key(entry.spec) not in self.runs and self.ledger.has(entry.spec):
                self.log(entry)

    def measure(self, numbers: dict[str, float]) -> None:
        """Puts numbers of this run of the study under the parent run, beside earlier runs'."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        values = [Metric(name, value, now, 0) for name, value in numbers.items()]
        self.client.log_batch(self.parent, metrics=values)

    def attach(
        self, files: Mapping[str, bytes], folder: str | None = None, run: str | None = None
    ) -> None:
        """Puts files, named by their paths, under a run, default: the parent, in a folder of it if
        one is named, in place of those there."""
        with tempfile.TemporaryDirectory() as scratch:
            for name, content in files.items():
                path = Path(scratch, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.client.log_artifacts(run or self.parent, scratch, folder)

    def describe(self, summary: notes.Summary) -> None:
        """Says at the study's experiment and parent run what there is to see."""
        texts = notes.experiment(summary), notes.parent(summary)
        self.client.set_experiment_tag(self.experiment, notes.NOTE, texts[0])
        self.client.set_tag(self.parent, notes.NOTE, texts[1])
        state = "complete" if summary.done == summary.total else "incomplete"
        self.client.set_tag(self.parent, "state", state)

    def end(self) -> None:
        """This run of the study is over."""
        self.client.set_terminated(self.parent)


def connect() -> Any:
    """An MLflow client on the tracking URI in force. Raises InputError if it does not answer."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    import mlflow

    uri = mlflow.get_tracking_uri()
    try:
        if uri.startswith(SQLITE):
            _make_database(_database(uri))
        client = mlflow.MlflowClient(tracking_uri=signed_in(uri))
        client.search_experiments(max_results=1)
    except Exception as error:  # Each kind of store has errors of its own.
        reason = without_secrets(" ".join(str(error).split()), uri)[:160]
        raise InputError(
            f"MLflow at {public(uri)}: does not answer ({reason}): "
            "set MLFLOW_TRACKING_URI to one that does"
        ) from None
    return client


def _make_database(path: Path) -> None:
    """Makes a sqlite store that is not there under another name, and moves it into place: one that
    was cut short while its tables were made would never open again."""
    import mlflow

    if path.exists():
        return
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        mlflow.MlflowClient(tracking_uri=f"{SQLITE}{staging}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # Another run was faster.
            os.link(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def _database(uri: str) -> Path:
    """The file of a sqlite URI."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def check_server() -> None:
    """Raises InputError if the tracking URI in force names a store that is not there or no store.
    A database in a file may be absent: it is made when it is needed."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if uri.startswith(SQLITE):
        check_database(_database(uri))
    else:
        connect()


def check_database(path: Path) -> None:
    """Raises InputError if something other than a sqlite database is where one is to be."""
    try:
        start = b""
        if path.exists():
            with path.open("rb") as file:
                start = file.read(16)
    except OSError as error:
        raise InputError(
            f"MLflow store {path}: cannot be read ({error.strerror}): "
            "set MLFLOW_TRACKING_URI to another"
        ) from None
    if start not in (b"", b"SQLite format 3\0"):
        raise InputError(
            f"MLflow store {path}: is no database: move it away, or set MLFLOW_TRACKING_URI"
        )


def open_tracker(client: Any, study: Study, ledger: Ledger) -> Tracker:
    """The study's experiment and parent run, made if missing, and what is already in them."""
    import mlflow

    experiment = client.get_experiment_by_name(study.name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    number = experiment.experiment_id if experiment else client.create_experiment(study.name)
    for name, value in notes.EXPERIMENT_TAGS.items():
        client.set_experiment_tag(number, name, value)
    parents = list(_search(client, number, "tags.stage = 'study'"))
    if parents:
        parent = parents[0].info.run_id
        client.update_run(parent, status="RUNNING")
    else:
        tags = {"stage": "study", "mlflow.source.name": f"python -m tuner run {study.name}"}
        parent = client.create_run(number, run_name=study.name, tags=tags).info.run_id
        client.set_experiment_tag(
            number, notes.NOTE, notes.experiment(notes.Summary(study.name, number, parent))
        )
    client.set_tag(parent, "study_key", key(study))
    content = study.model_dump(mode="json", exclude_none=True)
    client.log_text(parent, yaml.safe_dump(content, sort_keys=False), "study.yaml")
    tracker = Tracker(client, mlflow.get_tracking_uri(), study, ledger, number, parent)
    for run in _search(client, number, "tags.stage != 'study'"):
        if run.info.status == "FINISHED":
            tracker.runs[run.data.tags["key"]] = run.info.run_id
        else:
            client.delete_run(run.info.run_id)
    return tracker


def _search(client: Any, experiment: str, condition: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
