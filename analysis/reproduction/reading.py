"""What a store holds of the studies that can answer."""

from functools import partial

import pandas as pd

from analysis.reproduction.answers import Held
from analysis.reproduction.items import ITEMS
from analysis.store import evidence, places, runs
from analysis.store.load import latest, load


def held(study: str | None, tracking_uri: str | None) -> dict[str, Held]:
    """The studies that a store holds, by name: one alone, as `load` finds it, or all that an item
    names. Of a folder without a store, none.

    Raises InputError if a store that was named, or a study, is not there or cannot be read.
    """
    uri = runs.address(tracking_uri)
    if study is not None:
        found = _held(study, tracking_uri, uri)
        return {found.results.study.name: found}
    file = places.database(uri)
    if tracking_uri is None and file is not None and not file.is_file():
        return {}
    with runs.opened(uri) as store:
        there = {run.experiment for run in store.runs(["study"])}
    named = dict.fromkeys(name for item in ITEMS for name in item.studies)
    return {name: _held(name, tracking_uri, uri) for name in named if name in there}


def _held(study: str, tracking_uri: str | None, uri: str) -> Held:
    results = load(study, tracking_uri)
    with runs.opened(uri) as store:
        transfers = latest(store.runs(["transfer"], results.parent.experiment))
    gathered = evidence.read(results.parent, uri)
    table = gathered.table if gathered else partial(_empty)
    return Held(results, {key: run.metrics for key, run in transfers.items()}, table)


def _empty(name: str) -> pd.DataFrame:
    return pd.DataFrame()
