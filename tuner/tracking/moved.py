"""An MLflow store that was moved or copied with its folder: its artifacts' paths follow.

MLflow keeps them absolute, and has no way to change them; left alone, whatever is written to a
copy would land among the original's files.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.store import places


def mend(client: Any, uri: str) -> None:
    """Has the artifact locations of a sqlite store that was moved, or copied, point beside the
    database; of others, changes nothing."""
    file = places.database(uri)
    if file is not None and (gone := set(_gone(client, uri))):
        _replace(file, gone, places.artifacts_of(uri))


def _gone(client: Any, uri: str) -> Iterator[Path]:
    """Folders of artifacts that the store names, and that are not its own any more."""
    own = places.artifacts_of(uri)
    for experiment in client.search_experiments():
        place = places.local(experiment.artifact_location)
        parts = place and places.split(place)
        if not parts or parts[0] == own or _same(parts[0], own):
            continue
        # What stands for a study has files.
        runs = client.search_runs([experiment.experiment_id], "tags.stage = 'study'")
        came_along = any((own / parts[1] / run.info.run_id).exists() for run in runs)
        if came_along or not parts[0].exists():
            yield parts[0]


def _same(one: Path, other: Path) -> bool:
    """One folder under two paths, as mounts and links make them?"""
    return one.exists() and other.exists() and one.samefile(other)


def _replace(file: Path, gone: set[Path], own: Path) -> None:
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
    from sqlalchemy import URL, create_engine, func, update
    from sqlalchemy.orm import InstrumentedAttribute

    columns: list[InstrumentedAttribute[str]] = [
        *(SqlExperiment.artifact_location, SqlRun.artifact_uri, SqlLoggedModel.artifact_location),
        *(SqlModelVersion.source, SqlModelVersion.storage_location),
    ]
    with create_engine(URL.create("sqlite", database=str(file))).begin() as connection:
        for start in {f"{form}/" for root in gone for form in (str(root), root.as_uri())}:
            for column in columns:
                rest = func.substr(column, len(start) + 1)
                rows = update(column.class_).where(column.startswith(start, autoescape=True))
                connection.execute(rows.values({column: f"{own.as_uri()}/" + rest}))
