"""python -m tuner data: what a study needs, fetched ahead of time."""

import typer

from search_spaces.reading import studies
from tuner.options import DataOpt, SetOpt, StudyArg
from tuner.runtime.settings import Settings


def data(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    data: DataOpt = Settings.data,
) -> None:
    """Fetch and verify all data and weights that a study needs, ahead of time."""
    from tuner.storage.fetching import fetch

    for line in fetch(studies.load(study, overrides or ()), data):
        typer.echo(line)
