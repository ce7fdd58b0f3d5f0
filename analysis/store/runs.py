"""The only reader of MLflow: runs, their curves and their files, from any store.

Of MLflow's client a thousand runs take 5 s of processor time, and ten thousand 22 to 27 s; the
tables of a sqlite file answer the same in 0.2 and 0.6 s. A file whose tables are not the ones known
here, and every other store, goes through the client.
"""

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from analysis.store import places
from analysis.store.disclosure import public, signed_in, without_secrets
from search_spaces.errors import InputError

# Read by mlflow when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A reader waits for somebody: one retry (2 s), not mlflow's seven (4 minutes).
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
logging.getLogger("alembic").setLevel(logging.ERROR)

# MLflow's own, but where a folder of its old file store is beside, which it then takes instead.
DEFAULT_URI = "sqlite:///mlflow.db"
PAGE = 1000


class UnreadableError(InputError):
    """MLflow does not answer, or not as it should."""


@dataclass(frozen=True)
class Run:
    """A run as it stands in the store; times are milliseconds since 1970."""

    run_id: str
    name: str
    experiment: str
    status: str
    start_time: int
    end_time: int | None
    artifact_uri: str
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def when(self) -> int:
        """Its end, or its start while it runs."""
        return self.end_time or self.start_time


# Run id, metric, step, value.
Point = tuple[str, str, int, float]


class Store(Protocol):
    """What is asked of an MLflow store; deleted runs and experiments are not there."""

    def runs(self, stages: Collection[str], experiment: str | None = None) -> list[Run]:
        """The runs whose tag `stage` is one of some, of one experiment (by name) or of all."""

    def params(self, run_id: str) -> dict[str, str]:
        """A run's parameters."""

    def histories(self, runs: Collection[str], metrics: Collection[str]) -> Iterator[Point]:
        """Every value of some metrics that some runs logged."""


def address(uri: str | None) -> str:
    """The tracking URI in force: the one given, the environment's, or MLflow's default."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


@contextmanager
def opened(uri: str) -> Iterator[Store]:
    """A store to read from. Raises InputError, also for what goes wrong inside, if it can't be."""
    database = direct(uri) if uri.startswith("sqlite:") else None
    if database is None:
        with explained(uri):
            yield Client(uri)
        return
    with closing(database):
        try:
            yield Database(database)
        except sqlite3.Error as error:
            raise UnreadableError(
                f"tracking store {public(uri)}: cannot be read: {error}"
            ) from None


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turns failures of MLflow's client into one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        message = without_secrets(str(error), uri)
        reason = (message.strip().splitlines() or [type(error).__name__])[0]
        raise UnreadableError(
            f"tracking store {public(uri)}: cannot be read: {reason:.200}"
        ) from None


class Client:
    """A store behind MLflow's own client: a server, or a database that sqlite does not read."""

    def __init__(self, uri: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=signed_in(uri))

    def runs(self, stages: Collection[str], experiment: str | None = None) -> list[Run]:
        names = {e.experiment_id: e.name for e in self._pages(self._client.search_experiments)}
        chosen = [i for i, name in names.items() if experiment in (None, name)]
        if not chosen:
            return []
        listed = []
        for stage in sorted(stages):
            condition = f"tags.stage = '{stage}'"

            def search(condition: str = condition, **page: Any) -> Any:
                return self._client.search_runs(chosen, condition, **page)

            listed += [_from_client(run, names) for run in self._pages(search)]
        return listed

    def params(self, run_id: str) -> dict[str, str]:
        return dict(self._client.get_run(run_id).data.params)

    def histories(self, runs: Collection[str], metrics: Collection[str]) -> Iterator[Point]:
        for run_id in runs:
            for name in metrics:
                for metric in self._client.get_metric_history(run_id, name):
                    yield run_id, name, metric.step, metric.value

    def _pages(self, search: Callable[..., Any]) -> list[Any]:
        """All items of a search that answers a page at a time."""
        page = search(max_results=PAGE, page_token=None)
        items = list(page)
        while page.token:
            page = search(max_results=PAGE, page_token=page.token)
            items.extend(page)
        return items


def _from_client(run: Any, experiments: dict[str, str]) -> Run:
    info, data = run.info, run.data
    return Run(
        run_id=info.run_id,
        name=info.run_name,
        experiment=experiments[info.experiment_id],
        status=info.status,
        start_time=int(info.start_time),
        end_time=info.end_time and int(info.end_time),
        artifact_uri=info.artifact_uri,
        tags=dict(data.tags),
        metrics=dict(data.metrics),
    )


_VALUE = "CASE WHEN is_nan THEN NULL ELSE value END"
_STAGED = """
FROM runs JOIN experiments USING (experiment_id) JOIN tags AS stage USING (run_uuid)
WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
AND stage.key = 'stage' AND stage.value IN (SELECT value FROM json_each(:stages))
AND (:experiment IS NULL OR experiments.name = :experiment)
"""
_RUNS = f"""
SELECT run_uuid, runs.name, experiments.name, status, start_time, end_time, artifact_uri {_STAGED}
"""
_TAGS = f"SELECT run_uuid, key, value FROM tags WHERE run_uuid IN (SELECT run_uuid {_STAGED})"
_METRICS = f"""
SELECT run_uuid, key, {_VALUE} FROM latest_metrics WHERE run_uuid IN (SELECT run_uuid {_STAGED})
"""
_PARAMS = "SELECT key, value FROM params WHERE run_uuid = :run"
_HISTORIES = f"""
SELECT run_uuid, key, step, {_VALUE} FROM metrics
WHERE key IN (SELECT value FROM json_each(:metrics))
AND run_uuid IN (SELECT value FROM json_each(:runs)) ORDER BY run_uuid, key, step
"""


class Database:
    """A store in a sqlite file, opened read-only."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def runs(self, stages: Collection[str], experiment: str | None = None) -> list[Run]:
        chosen = {"stages": json.dumps(sorted(stages)), "experiment": experiment}
        tags, metrics = self._by_run(_TAGS, chosen), self._by_run(_METRICS, chosen)
        return [
            Run(*(*row, tags.get(row[0], {}), metrics.get(row[0], {})))
            for row in self._connection.execute(_RUNS, chosen)
        ]

    def params(self, run_id: str) -> dict[str, str]:
        return dict(self._connection.execute(_PARAMS, {"run": run_id}))

    def histories(self, runs: Collection[str], metrics: Collection[str]) -> Iterator[Point]:
        chosen = {"runs": json.dumps(sorted(runs)), "metrics": json.dumps(sorted(metrics))}
        yield from self._connection.execute(_HISTORIES, chosen)

    def _by_run(self, query: str, chosen: dict[str, Any]) -> dict[str, dict[str, Any]]:
        by_run: dict[str, dict[str, Any]] = {}
        for run_id, name, value in self._connection.execute(query, chosen):
            by_run.setdefault(run_id, {})[name] = value
        return by_run


def direct(uri: str) -> sqlite3.Connection | None:
    """The sqlite file behind a URI; None if its tables are not those known here.

    The file has to be there and be MLflow's: mlflow would create one in its place.
    """
    path = places.database(uri) or Path()
    remedy = "pass --tracking-uri, or run a study first: python -m tuner run quickstart"
    if not path.is_file():
        raise InputError(f"tracking store {uri}: there is no such file: {remedy}")
    try:
        place = f"file:{quote(str(path))}?mode=ro"
        connection = sqlite3.connect(place, uri=True, timeout=30)
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiments'"
        known = connection.execute(query).fetchone()
    except sqlite3.Error:
        known = None
    if not known:
        raise InputError(f"tracking store {uri}: not an MLflow database: {remedy}")
    nothing = {"stages": "[]", "experiment": None, "run": "", "runs": "[]", "metrics": "[]"}
    try:
        for query in (_RUNS, _TAGS, _METRICS, _PARAMS, _HISTORIES):
            connection.execute(query, nothing)
    except sqlite3.OperationalError:
        connection.close()
        return None
    return connection
