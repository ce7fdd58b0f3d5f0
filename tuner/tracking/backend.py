"""The MLflow store in force: checked, made if missing, connected."""

import logging
import os
import uuid
from pathlib import Path
from typing import Any

from analysis.store import places
from analysis.store.disclosure import public, signed_in, without_secrets
from analysis.store.runs import UnreadableError, address
from search_spaces.errors import InputError
from tuner.tracking import moved

# A server that is not there is to be named within seconds, not after minutes of retries.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}


def connect() -> Any:
    """An MLflow client on the tracking URI in force. Raises InputError if it does not answer."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    import mlflow

    uri = address(None)
    try:
        if file := places.database(uri):
            _make_database(file)
        client = mlflow.MlflowClient(tracking_uri=signed_in(uri))
        client.search_experiments(max_results=1)
        moved.mend(client, uri)
    except Exception as error:  # Each kind of store has errors of its own.
        reason = without_secrets(" ".join(str(error).split()), uri)[:160]
        raise UnreadableError(
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
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{staging}").search_experiments(max_results=1)
        _put(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def _put(staging: Path, path: Path) -> None:
    """Moves a database into place, unless another run was faster."""
    try:
        os.link(staging, path)
    except FileExistsError:
        pass
    except OSError:
        # No hard links there. Of two runs that start in one moment the later one's then counts:
        # what the other wrote is written again from the ledger.
        if not path.exists():
            staging.rename(path)


def check_server() -> None:
    """Raises InputError if the tracking URI in force names a store that is not there or no store.
    A database in a file may be absent: it is made when it is needed."""
    if file := places.database(address(None)):
        check_database(file)
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
