"""A sync brings an MLflow store up to the ledger, and writes nothing twice."""

import os
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from analysis.report import speed
from analysis.store import artifacts, load
from search_spaces import grid
from search_spaces.errors import InputError
from tests.support import made_up
from tests.support.mlflow_store import empty_store
from trainables.latency import kept
from trainables.store.ledger import open_ledger
from tuner.commands.sync import sync_study
from tuner.runtime.lock import only_run
from tuner.runtime.settings import Origin, Settings
from tuner.scheduling.worklist import worklist
from tuner.storage import failures, state
from tuner.storage.entries import transfer_entry
from tuner.storage.failures import FailureReason
from tuner.tracking import backend


def assert_stored_alike(study, ledger, finished):
    """The ledger and MLflow give one table, and one record of which images are right."""
    own = state.results(worklist(study, ledger))
    tracked = load.load(study.name, with_correct=True)
    assert (len(own.table), len(own.expected)) == (finished, 20)
    stored = tracked.expected.assign(run_id=own.expected["run_id"])
    pd.testing.assert_frame_equal(own.expected, stored, check_exact=True)
    pd.testing.assert_frame_equal(own.missing, tracked.missing)
    assert own.study == tracked.study and own.correct.keys() == tracked.correct.keys()
    for key, records in own.correct.items():
        for score, right in records.items():
            np.testing.assert_array_equal(right, tracked.correct[key][score])


FAST = {"images_per_second": {"median": 10.0}, "ratio": {"median": 2.5}}
COUNTED = {"file": 8, "zipped": 4, "memory": None, "macs": 6, "nonzero_macs": 3, "agrees": 1.0}
MEASURED = {
    **{"name": "standard/imp/1", "labels": {"sparsity": 0.2}, "device": "cpu", "threads": 1},
    **{"tested": {"sa": 0.9, "ra": 0.5}, "dense_tested": {"sa": 0.8, "ra": 0.4}},
    "rows": [
        {**COUNTED, "name": "dense", "sa": None, "speed": {"1": FAST}},
        {**COUNTED, "name": "channels removed", "sa": 0.9, "speed": {"1": FAST}},
    ],
}
"""What `latency` has measured of a transfer."""


def assert_speed_is_shown(parent):
    """What was measured is among the run's files, and in its report."""
    uri = os.environ["MLFLOW_TRACKING_URI"]
    table = speed.read(parent, uri)
    assert list(table["x dense, batch 1"]) == [2.5, 2.5]
    assert list(table["SA"]) == [0.8, 0.9] and list(table["RA"]) == [0.4, 0.5]
    assert b"channels removed" in artifacts.read(parent, "report.html", uri)


def test_what_is_missing_is_written_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    study, settings = made_up.study(), Settings(storage=tmp_path / "results")
    ledger = open_ledger(settings.storage)
    made_up.write_source(study, ledger)
    cells = grid.transfers(study)
    made_up.write_transfers(ledger, cells[:12])
    why = FailureReason("ValueError: boom", "", outside=False)
    failures.record(ledger, transfer_entry(cells[12]), study.name, why)

    first = sync_study(study, settings, Origin("made-up.yaml"))
    assert (first.written, first.runs, first.failed) == (18, 18, 1)
    assert "1 of failures" in str(first)
    assert_stored_alike(study, ledger, 12)
    again = sync_study(study, settings, Origin("made-up.yaml"))
    assert (again.written, again.runs, again.failed) == (0, 18, 1)
    made_up.write_transfers(ledger, cells[12:])
    kept.keep(ledger.root, cells[0].key, MEASURED)
    last = sync_study(study, settings, Origin("made-up.yaml"))
    assert (last.written, last.runs, last.failed) == (8, 26, 0)

    client = backend.connect()
    number = client.get_experiment_by_name(study.name).experiment_id
    runs = client.search_runs([number], "tags.stage != 'study'")
    assert Counter(run.data.tags["key"] for run in runs) == Counter(grid.expand(study).keys)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert_stored_alike(study, ledger, 20)
    assert_speed_is_shown(load.load(study.name).parent)
    with only_run(ledger.root, study.name), pytest.raises(InputError, match="another run works"):
        sync_study(study, settings, Origin("made-up.yaml"))
