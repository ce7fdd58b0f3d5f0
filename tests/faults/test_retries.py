"""Trainings that fail, run again and again on real Ray and MLflow: a ticket and a transfer."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from search_spaces import grid
from search_spaces.reading import studies
from tests import support
from tests.support.paths import ROOT
from trainables.store.ledger import Ledger
from tuner.storage import failures

pytestmark = pytest.mark.long
HERE = Path(support.__file__).parent

YAML = """
name: failing
source:
  dataset: {name: mnist-mini, size: 8, limit: 256}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: {epochs: 1, batch_size: 32, lr: 0.1}}}
pruning:
  imp: {method: imp, rounds: 2, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.1}}}
  random: {method: random, levels: [1]}
downstream:
  - dataset: {name: digits, size: 8, limit: 200}
    levels: [0, 1, 2]
    seeds: [0]
    regimes:
      standard: {recipe: {epochs: 1, batch_size: 32, lr: 0.1}}
      adversarial:
        attack: &pgd {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 1, batch_size: 32, lr: 0.1}
evaluation: {attack: *pgd}
"""
WHY = "ValueError: made to fail in process"


def tuner(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPATH": f"{HERE / 'failing'}:{ROOT}", "FAIL": str(folder / "fail")}
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_failures_are_told_kept_and_mended(tmp_path):
    (tmp_path / "failing.yaml").write_text(YAML)
    study = studies.load(str(tmp_path / "failing.yaml"))
    ledger = Ledger(tmp_path / "results")
    (ticket,) = (c.key for c in grid.tickets(study) if (c.pruning, c.level) == ("imp", 2))
    (transfer,) = (
        c.key
        for c in grid.transfers(study)
        if (c.ticket_cell.pruning, c.regime) == ("random", "standard")
    )
    keys = {ticket, transfer}
    (tmp_path / "fail").write_text("\n".join(keys))

    def run(*arguments):
        """Of eight transfers one fails, and the two of the failed ticket wait for it."""
        code, out = tuner(tmp_path, "run", "failing.yaml", *arguments)
        assert code == 1, out
        assert "failing: 5 of 8 transfers complete" in out
        assert "INCOMPLETE: 3 of 8 transfers are missing (1 failed)" in out
        assert "2 failed:" in out and out.count(WHY) == 2
        return {f.attempts for f in failures.recorded(ledger.root).values()}, out

    attempts, out = run()
    assert attempts == {1} and "--retry-failed" not in out
    found = failures.recorded(ledger.root)
    assert found.keys() == keys and not any(failure.outside for failure in found.values())
    assert all(WHY in (ledger.root / failure.log).read_text() for failure in found.values())
    attempts, out = run()
    assert attempts == {2} and "run failing.yaml --retry-failed" in out
    attempts, out = run()
    assert attempts == {2} and "stage" not in out, "nothing tried, no Ray started"
    _, out = tuner(tmp_path, "status", "failing.yaml")
    assert out.count(WHY) == 2 and f"results/logs/failed/{transfer}.txt" in out
    assert not list((ledger.root / "ray").glob("*-*"))

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    number = client.get_experiment_by_name("failing").experiment_id

    def shown():
        runs = client.search_runs([number], "tags.stage != 'study'")
        return {r.data.tags["key"]: r for r in runs if r.info.status == "FAILED"}, len(runs)

    failed, _ = shown()
    assert failed.keys() == keys
    assert all(WHY in run.data.tags["reason"] for run in failed.values())
    (parent,) = client.search_runs([number], "tags.stage = 'study'")
    assert (parent.info.status, parent.data.tags["state"]) == ("FAILED", "incomplete")

    (tmp_path / "fail").write_text("")
    code, out = tuner(tmp_path, "run", "failing.yaml", "--retry-failed")
    assert code == 0 and "failing: 8 of 8 transfers complete" in out, out
    assert "INCOMPLETE" not in out and failures.recorded(ledger.root) == {}
    assert shown() == ({}, 1 + 3 + 8)
