"""The sqlite store that a run makes: whole, or not there."""

import os
import subprocess
import sys
import time

from tests.support.paths import ROOT
from tuner.tracking import store as tracking_store


def test_a_store_whose_making_was_killed_is_made_by_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    making = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from tuner.tracking import store as tracking_store; tracking_store.connect()",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.iterdir()):
        assert making.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(0.2)
    making.kill()
    making.wait()
    cut_short = {path.name for path in tmp_path.iterdir()}
    assert all(name.startswith(".mlflow.db.") for name in cut_short)
    client = tracking_store.connect()
    client.create_experiment("s")
    assert {path.name for path in tmp_path.iterdir()} == {*cut_short, "mlflow.db"}
    assert tracking_store.connect().get_experiment_by_name("s") is not None


def test_a_store_that_is_there_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    number = tracking_store.connect().create_experiment("s")
    assert tracking_store.connect().get_experiment_by_name("s").experiment_id == number
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
