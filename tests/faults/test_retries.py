"""Trainings that fail, run again and again on real Ray and MLflow: a ticket and a transfer."""

import mlflow
import pytest

from search_spaces import grid
from tests.support import paths, storage
from tests.support.commands import call
from tests.support.studies import tiny, write
from trainables.store.ledger import Ledger
from tuner.storage import failures

pytestmark = pytest.mark.long


def test_failures_are_recorded_kept_and_mended(tmp_path):
    study = write(tiny("downstream.0.seeds=[0]"), tmp_path)
    ledger = Ledger(tmp_path / "results")
    (ticket,) = (c.key for c in grid.tickets(study) if (c.pruning, c.level) == ("imp", 2))
    (transfer,) = (
        c.key
        for c in grid.transfers(study)
        if (c.ticket_cell.pruning, c.regime) == ("random", "standard")
    )
    failing, chosen = {ticket, transfer}, tmp_path / "fail"
    chosen.write_text("\n".join(failing))
    hooked = {"PYTHONPATH": f"{paths.HOOKS}:{paths.ROOT}", "FAIL": str(chosen)}

    def tuner(*arguments):
        code, out, err = call("tuner", *arguments, cwd=tmp_path, **hooked)
        return code, out + err

    def run(*arguments):
        """Of eight transfers one fails, and the two of the failed ticket wait for it."""
        code, out = tuner("run", "tiny.yaml", *arguments)
        assert code == 1, out
        assert "5 of 8 transfers" in out and out.count("made to fail in process") == 2
        recorded = failures.recorded(ledger.root)
        assert recorded.keys() == failing
        return {failure.attempts for failure in recorded.values()}, out

    attempts, out = run()
    assert attempts == {1} and "--retry-failed" not in out
    for failure in failures.recorded(ledger.root).values():
        assert not failure.outside
        assert "made to fail in process" in (ledger.root / failure.log).read_text()
    attempts, out = run()
    assert attempts == {2} and "run tiny.yaml --retry-failed" in out
    attempts, out = run()
    assert attempts == {2} and "stage" not in out, "nothing tried, no Ray started"
    _, out = tuner("status", "tiny.yaml")
    assert f"results/logs/failed/{transfer}.txt" in out
    assert not list((ledger.root / "ray").glob("*-*"))

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    number = client.get_experiment_by_name("tiny").experiment_id

    def shown():
        runs = client.search_runs([number], "tags.stage != 'study'")
        return {r.data.tags["key"]: r for r in runs if r.info.status == "FAILED"}, len(runs)

    failed, _ = shown()
    assert failed.keys() == failing
    assert all("made to fail" in run.data.tags["reason"] for run in failed.values())
    (parent,) = client.search_runs([number], "tags.stage = 'study'")
    assert (parent.info.status, parent.data.tags["state"]) == ("FAILED", "incomplete")

    chosen.write_text("")
    code, out = tuner("run", "tiny.yaml", "--retry-failed")
    assert code == 0, out
    assert len(storage.keys(ledger.root, "transfers")) == 8
    assert failures.recorded(ledger.root) == {}
    assert shown() == ({}, 1 + 3 + 8)
