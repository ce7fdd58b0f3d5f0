"""Empty MLflow stores: making one takes seconds, so one is made, and copied."""

import tempfile
from functools import cache
from pathlib import Path

from mlflow.tracking import MlflowClient


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db").search_experiments()
        return (Path(folder) / "mlflow.db").read_bytes()


def empty_store(folder: Path) -> str:
    """Puts an empty store into FOLDER/mlflow.db; returns its URI."""
    (folder / "mlflow.db").write_bytes(_empty())
    return f"sqlite:///{folder / 'mlflow.db'}"
