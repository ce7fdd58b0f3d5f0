"""A run that has nothing to train: what it says, and with which exit code. No Ray is started."""

import shlex

import pytest

from search_spaces import grid
from tests.support import made_up
from tests.support.mlflow_store import empty_store
from tests.support.studies import write
from trainables.store.ledger import open_ledger
from tuner.storage import failures
from tuner.storage.entries import transfer_entry
from tuner.storage.failures import FailureReason


@pytest.fixture
def study():
    return made_up.study()


@pytest.fixture
def ledger(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    write(study, tmp_path)
    ledger = open_ledger(tmp_path / "results")
    made_up.write_source(study, ledger)
    return ledger


def test_a_complete_study_is_reported_in_full(study, ledger, tuner):
    made_up.write_transfers(ledger, grid.transfers(study))
    code, out, err = tuner("run", "made-up.yaml")
    assert (code, err) == (0, "")
    assert "20 of 20 transfers" in out and "INCOMPLETE" not in out and "stage" not in out
    assert "36.00 %  " in out


def test_the_next_command_adds_to_what_is_there(study, ledger, tuner, tmp_path):
    made_up.write_transfers(ledger, grid.transfers(study))
    asked = ("made-up.yaml", "--data", str(tmp_path / "my data"), "--set", "source.seeds=[0]")
    code, out, err = tuner("run", *asked)
    assert (code, err) == (0, "")
    line = next(line for line in out.splitlines() if "tuner run" in line)
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "tuner", "run"] and set(asked) <= set(words)
    code, out, err = tuner("status", *words[4:])
    assert (code, err) == (0, "")
    rows = [row.split() for row in out.splitlines() if row.startswith("transfers")]
    total, complete = (sum(int(row[column]) for row in rows) for column in (-2, -1))
    assert (total, complete) == (40, 20)


def test_a_study_with_a_lasting_failure_is_never_complete(study, ledger, tuner):
    cells = grid.transfers(study)
    made_up.write_transfers(ledger, cells[:-1])
    for _ in range(failures.LASTING):
        why = FailureReason("ValueError: boom", "", outside=False)
        failures.record(ledger, transfer_entry(cells[-1]), study.name, why)
    code, out, err = tuner("run", "made-up.yaml")
    assert (code, err) == (1, "")
    assert "19 of 20 transfers" in out and "INCOMPLETE" in out and "stage" not in out
    assert "ValueError: boom" in out
    assert "python -m tuner run made-up.yaml --retry-failed" in out
