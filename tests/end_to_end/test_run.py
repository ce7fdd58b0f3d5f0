"""A run that has nothing to train: what it says, and with which exit code. No Ray is started."""

import os
import subprocess
import sys

import pytest

from search_spaces import grid
from tests.support import made_up
from tests.support.paths import ROOT
from trainables.store.ledger import open_ledger
from tuner.storage import failures
from tuner.storage.entries import transfer_entry
from tuner.storage.failures import FailureReason


@pytest.fixture
def study():
    return made_up.study()


@pytest.fixture
def ledger(study, tmp_path):
    (tmp_path / "made-up.yaml").write_text(made_up.YAML)
    ledger = open_ledger(tmp_path / "results")
    made_up.write_source(study, ledger)
    return ledger


def run(folder):
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "run", "made-up.yaml"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "stage" not in done.stdout
    return done.returncode, done.stdout, done.stderr


def test_a_complete_study_is_told_in_full(study, ledger, tmp_path):
    made_up.write_transfers(ledger, grid.transfers(study))
    code, out, err = run(tmp_path)
    assert (code, err) == (0, "")
    assert "made-up: 20 of 20 transfers complete" in out and "INCOMPLETE" not in out
    assert "36.00 %  " in out and "Next: python -m tuner ui" in out


def test_a_study_with_a_lasting_failure_is_never_complete(study, ledger, tmp_path):
    cells = grid.transfers(study)
    made_up.write_transfers(ledger, cells[:-1])
    for _ in range(failures.LASTING):
        why = FailureReason("ValueError: boom", "", outside=False)
        failures.record(ledger, transfer_entry(cells[-1]), study.name, why)
    code, out, err = run(tmp_path)
    assert (code, err) == (1, "")
    assert "made-up: 19 of 20 transfers complete" in out
    assert "INCOMPLETE: 1 of 20 transfers are missing (1 failed)" in out
    assert "ValueError: boom (in 2 runs" in out
    assert "python -m tuner run made-up.yaml --retry-failed" in out and "Next:" not in out
