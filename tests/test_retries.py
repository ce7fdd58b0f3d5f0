"""A study in which a transfer fails for good: run again and again, on real Ray and MLflow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from search_spaces import grid, reading
from trainables.ledger import Ledger
from tuner import failures

pytestmark = pytest.mark.ray

YAML = """
name: failing
source:
  dataset: {name: mnist-mini, size: 8, limit: 256}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: {epochs: 1, batch_size: 32, lr: 0.1}}}
pruning:
  random: {method: random, levels: [1]}
downstream:
  - dataset: {name: digits, size: 8, limit: 200}
    levels: [0, 1]
    seeds: [0]
    regimes:
      standard: {recipe: {epochs: 1, batch_size: 32, lr: 0.1}}
      adversarial:
        attack: &pgd {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 1, batch_size: 32, lr: 0.1}
      fast_adversarial:
        # Collapses, by a watch that is too nervous, before there is anything to judge.
        attack: {kind: fgsm, epsilon: 0.5, alpha: 1.0}
        containment: {fall: 0.001, gap: 0.001, patience: 1}
        recipe: {epochs: 12, batch_size: 32, lr: 0.2, validate_from: 12}
        only: {levels: [0]}
evaluation: {attack: *pgd}
"""
WHY = "RuntimeError: co_stopped before the first validation: lower validate_from"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failing")
    (folder / "failing.yaml").write_text(YAML)
    return folder


def tuner(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
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


def test_what_fails_for_good_is_not_tried_for_ever(folder):
    study = reading.load(str(folder / "failing.yaml"))
    ledger = Ledger(folder / "results")
    (cell,) = (c for c in grid.transfers(study) if c.regime == "fast_adversarial")

    def run(*arguments):
        code, out = tuner(folder, "run", "failing.yaml", *arguments)
        assert code == 1, out
        assert "failing: 4 of 5 transfers complete" in out
        assert "INCOMPLETE: 1 of 5 transfers are missing (1 failed)" in out
        assert WHY in out and f"results/logs/failed/{cell.key}.txt" in out
        return failures.recorded(ledger.root)[cell.key], out

    first, out = run()
    assert (first.error, first.attempts, first.outside) == (WHY, 1, False)
    assert "--retry-failed" not in out
    assert WHY in (ledger.root / first.log).read_text()
    second, out = run()
    assert second.attempts == 2 and "run failing.yaml --retry-failed" in out
    assert "transfers: 4/5" in out, "tried once more"
    third, out = run()
    assert third == second and "stage" not in out, "not tried, and no Ray started"
    _, out = tuner(folder, "status", "failing.yaml")
    assert WHY in out
    fourth, _ = run("--retry-failed")
    assert fourth.attempts == 3
    assert not list((ledger.root / "ray").glob("*-*"))

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    number = client.get_experiment_by_name("failing").experiment_id
    found = client.search_runs([number], f"tags.key = '{cell.key}'")
    (failed,) = found
    assert (failed.info.status, failed.data.tags["reason"]) == ("FAILED", WHY)
    assert failed.data.tags["attempts"] == "3"
    (parent,) = client.search_runs([number], "tags.stage = 'study'")
    assert (parent.info.status, parent.data.tags["state"]) == ("FAILED", "incomplete")
    complete = {json.loads(p.read_text())["state"] for p in ledger.root.glob("*s/*/result.json")}
    assert complete == {"complete"}
