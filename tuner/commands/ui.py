"""python -m tuner ui: MLflow's UI on the store in force."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from analysis.store import places
from analysis.store.disclosure import public
from analysis.store.runs import address
from search_spaces.errors import InputError
from tuner.tracking import backend
from tuner.tracking.notes import MODE


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
) -> None:
    """Open MLflow's UI on the store in force, reachable from this machine only (Ctrl-C ends it)."""
    serve(port)


def serve(port: int) -> NoReturn:
    """Becomes MLflow's UI, listening on loopback. Raises InputError if there is nothing to show."""
    uri = address(None)
    if uri.startswith("http"):
        shown = public(uri)
        raise InputError(f"MLFLOW_TRACKING_URI {shown}: is a server already: open it in a browser")
    file = places.database(uri)
    if file and not file.exists():
        raise InputError(f"MLflow store {file}: not there: run a study in this folder first")
    backend.check_server()
    backend.connect()
    page = f"http://127.0.0.1:{port}/#/experiments?{MODE}"
    print(f"MLflow UI for {public(uri)}: {page} (keep Model training at the top left)", flush=True)
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Not on the command line, which every user of the machine can see: it may hold a password.
        "MLFLOW_BACKEND_STORE_URI": uri,
    }
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    os.execve(sys.executable, command, environment)
