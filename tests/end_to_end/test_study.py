"""The whole platform on a tiny study: Ray Train with two workers, Ray Tune, MLflow, analysis."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch

from search_spaces import grid
from search_spaces.reading import studies
from tests.support.paths import ROOT
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import Ledger, open_ledger
from trainables.training.ranks import Shard

pytestmark = pytest.mark.long

YAML = """
name: tiny
source:
  dataset: {name: mnist-mini, size: 8, limit: 256}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: {epochs: 2, batch_size: 32, lr: 0.1}}}
    adversarial:
      train:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 1, batch_size: 32, lr: 0.1}
pruning:
  imp: {method: imp, rounds: 2, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
  random: {method: random, levels: [2], pretrainings: [adversarial]}
downstream:
  - dataset: {name: digits, size: 8, limit: 200}
    levels: [0, 1, 2]
    seeds: [0, 1]
    regimes:
      standard: {recipe: {epochs: 2, batch_size: 32, lr: 0.1}}
      adversarial:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 2, batch_size: 32, lr: 0.1}
      fast_adversarial:
        # So large a step, and so nervous a watch, that the stopper has to act.
        attack: {kind: fgsm, epsilon: 0.5, alpha: 1.0}
        containment: {fall: 0.001, gap: 0.001, patience: 1}
        recipe: {epochs: 12, batch_size: 32, lr: 0.2}
        only: {pretrainings: [standard], levels: [0]}
evaluation:
  attack: {kind: pgd, steps: 5, epsilon: 0.1, alpha: 0.05}
"""


def call(module, *arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def study():
    return studies.validate(studies.parse(YAML, "tiny"), "tiny")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder in which the study has been run once, with two Ray Train workers a chain."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(YAML)
    code, out, err = call("tuner", "run", "tiny.yaml", "--workers", "2", cwd=folder)
    assert code == 0, out + err + "".join(p.read_text() for p in folder.glob("results/logs/*"))
    return folder, out


def results(folder):
    """Every file of the ledger."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "results").glob("*s/*/*"))
    }


def table(out):
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("theta"))
    return lines[start : start + 5]


def trials(folder):
    code, out, err = call("analysis", "trials", "--format", "json", cwd=folder)
    assert code == 0, err
    return sorted(json.loads(out), key=lambda row: row["key"])


def test_everything_is_complete(first, study):
    folder, out = first
    ledger = Ledger(folder / "results")
    wanted = [c.theta for c in grid.thetas(study)]
    wanted += [c.ticket for c in grid.tickets(study)]
    wanted += [c.transfer for c in grid.transfers(study)]
    assert len(wanted) == 2 + 5 + 30
    assert all(ledger.has(spec) for spec in wanted)
    assert "tiny: 30 of 30 transfers complete" in out
    assert not list((folder / "results" / "ray").glob("*-*"))


def test_the_stopper_ended_collapsed_transfers_and_kept_their_best_state(first, study):
    ledger = Ledger(first[0] / "results")
    watched = [c for c in grid.transfers(study) if c.regime == "fast_adversarial"]
    found = [ledger.result(c.transfer) for c in watched]
    stopped = [r for r in found if r["state"] == "co_stopped"]
    assert stopped
    for result in stopped:
        assert len(result["epochs"]) < 12
        best = result["epochs"][result["best_epoch"] - 1]["val"]
        assert best["ra"] == max(e["val"]["ra"] for e in result["epochs"])


def test_mlflow_holds_what_the_ledger_holds(first, study):
    folder, _ = first
    ledger = Ledger(folder / "results")
    rows = trials(folder)
    assert len(rows) == 30
    by_key = {c.key: c for c in grid.transfers(study)}
    for row in rows:
        result = ledger.result(by_key[row["key"]].transfer)
        assert (row["SA"], row["RA"]) == (result["test"]["sa"], result["test"]["ra"])
        assert row["state"] == result["state"]
        assert row["epochs"] == len(result["epochs"])


def test_the_run_is_accounted_for(first, study):
    folder, _ = first
    store = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(store)
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.stage = 'study'")
    took = parent.data.metrics
    assert 0 < took["source_seconds"] + took["transfers_seconds"] < took["wall_seconds"]


def test_a_second_run_trains_nothing_and_every_number_is_identical(first):
    folder, out = first
    before, rows = results(folder), trials(folder)
    code, again, err = call("tuner", "run", "tiny.yaml", "--workers", "2", cwd=folder)
    assert code == 0, err
    assert results(folder) == before
    assert trials(folder) == rows
    assert table(again) == table(out)
    assert "stage" not in again


def test_damaged_results_are_named_and_computed_again(first, study, tmp_path):
    """A flipped bit in a mask, a shortened result: the same bytes come back, nothing else moves."""
    folder = tmp_path / "copy"
    shutil.copytree(first[0], folder)
    ledger, before = Ledger(folder / "results"), results(folder)
    mask = ledger.folder(grid.tickets(study)[0].ticket) / "mask.safetensors"
    content = bytearray(mask.read_bytes())
    content[-1] ^= 1
    mask.write_bytes(bytes(content))
    scores = ledger.folder(grid.transfers(study)[-1].transfer) / "result.json"
    scores.write_text(scores.read_text()[:-20])
    code, out, err = call("tuner", "run", "tiny.yaml", "--workers", "2", cwd=folder)
    assert code == 0, err
    named = [line for line in out.splitlines() if line.startswith("damaged: ")]
    assert len(named) == 2
    assert str(mask.parent) in named[0] and str(scores.parent) in named[1]
    after, name = results(folder), str(mask.relative_to(folder))
    assert after.keys() == before.keys()
    assert after[name] == before[name]
    again, once = (
        Ledger(f / "results").result(grid.transfers(study)[-1].transfer) for f in (folder, first[0])
    )
    assert (again["test"], again["last"]) == (once["test"], once["last"])


def test_another_storage_gives_the_same_numbers(first, study, tmp_path):
    """Nothing but the specs decides: trained anew, without Ray, in another order."""
    from trainables.jobs import transfer

    ledger = open_ledger(tmp_path)
    worker = Worker(ledger, Shard(), torch.device("cpu"))
    cells = [c for c in grid.transfers(study) if c.regime == "adversarial"][::-5]
    there = Ledger(first[0] / "results")
    for cell in cells:
        task = transfer.prepare(cell.transfer, there, worker.device)
        assert list(transfer.run(task, ledger))[-1]["ends"]
        result = ledger.result(cell.transfer)
        expected = there.result(cell.transfer)
        assert result["test"] == expected["test"] and result["last"] == expected["last"]
        losses = [[e["loss"] for e in r["epochs"]] for r in (result, expected)]
        assert losses[0] == losses[1]


def test_two_workers_train_one_network(first, study, tmp_path):
    """Data-parallel training ends close to one process's: batches are the same, their parts'
    BatchNorm statistics are not."""
    theta = grid.thetas(study)[0].theta
    there = Ledger(first[0] / "results").result(theta)
    assert there["workers"] == 2
    worker = Worker(open_ledger(tmp_path), Shard(), torch.device("cpu"))
    list(run_chain(Chain(theta=theta, plans=()), worker))
    alone = worker.ledger.result(theta)
    for together, single in zip(there["epochs"], alone["epochs"], strict=True):
        assert abs(together["loss"] - single["loss"]) < 0.35
        assert together["lr"] == single["lr"]


def test_adding_a_seed_trains_only_the_new_transfers(first, study):
    folder, _ = first
    before = results(folder)
    override = ("--set", "downstream.0.seeds=[0,1,2]")
    code, out, err = call("tuner", "run", "tiny.yaml", *override, cwd=folder)
    assert code == 0, out + err
    assert "transfers: 30/45" in out and "tickets: " not in out
    after = results(folder)
    assert {name: after[name] for name in before} == before
    new = {Path(name).parts[2] for name in after.keys() - before.keys()}
    assert len(new) == 15
    assert len(trials(folder)) == 45


def test_extreme_reads_the_same_verdict_from_mlflow_alone(first):
    folder, _ = first
    code, out, err = call("tuner", "run", "tiny.yaml", cwd=folder)
    assert code == 0, err
    code, printed, err = call("analysis", "extreme", cwd=folder)
    assert (code, err) == (0, "")
    assert table(printed) == table(out)
