"""The files beside runs: read in place where they are on this machine, else through MLflow."""

import tempfile
from pathlib import Path, PurePosixPath

from analysis.store import places
from analysis.store.disclosure import signed_in
from analysis.store.runs import Run, explained


def folder(run: Run, uri: str) -> Path | None:
    """Where a run's artifacts are, if that is a path of this machine."""
    place = places.local(run.artifact_uri)
    return place and places.followed(place, uri)


def names(run: Run, uri: str, below: str = "") -> list[str]:
    """The files and folders directly `below` a folder of a run's artifacts, as paths from its
    root."""
    here = folder(run, uri)
    if here is not None:
        paths = (here / below).iterdir() if (here / below).is_dir() else []
        return sorted(str(PurePosixPath(below) / path.name) for path in paths)
    with explained(uri):
        from mlflow.tracking import MlflowClient

        listed = MlflowClient(tracking_uri=signed_in(uri)).list_artifacts(run.run_id, below or None)
        return sorted(item.path for item in listed)


def read(run: Run, name: str, uri: str) -> bytes | None:
    """A file among a run's artifacts, by its path there; None where there is none.

    Raises InputError if it is there and cannot be read.
    """
    here = folder(run, uri)
    if here is not None:
        path = here / name
        with explained(uri):
            return path.read_bytes() if path.is_file() else None
    parent = str(PurePosixPath(name).parent)
    if name not in names(run, uri, "" if parent == "." else parent):
        return None
    with explained(uri), tempfile.TemporaryDirectory() as target:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=signed_in(uri))
        return Path(client.download_artifacts(run.run_id, name, target)).read_bytes()
