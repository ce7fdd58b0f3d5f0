"""`python -m tuner evidence` on a tiny finished study: Ray and MLflow for real, read by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch

from search_spaces import grid
from search_spaces.evidence import Retraining
from search_spaces.reading import studies
from tests.support.paths import ROOT
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import open_ledger
from trainables.training.ranks import Shard

YAML = """
name: tiny
source:
  dataset: {name: mnist-mini, size: 8, limit: 96}
  model: {arch: resnet8, width: 4}
  pretrainings:
    one: {train: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
    two: {train: {recipe: {epochs: 2, batch_size: 32, lr: 0.05}}}
pruning:
  imp: {method: imp, rounds: 2, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
downstream:
  - dataset: {name: digits, size: 8, limit: 96}
    levels: [0, 2]
    seeds: [0]
    regimes:
      standard: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}
      adversarial:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 1, batch_size: 32, lr: 0.05}
evaluation: {attack: {kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}}
"""
FEW = ("--points", "3", "--images", "16", "--autoattack-images", "0")


def call(*arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
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
def folder(study, tmp_path_factory):
    """A folder in which the study is finished, without Ray."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "tiny.yaml").write_text(YAML)
    worker = Worker(open_ledger(folder / "results"), Shard(), torch.device("cpu"))
    for cell in grid.thetas(study):
        list(run_chain(Chain(theta=cell.theta, plans=tuple(study.pruning.values())), worker))
    for cell in grid.transfers(study):
        task = transfer.prepare(cell.transfer, worker.ledger, worker.device)
        assert list(transfer.run(task, worker.ledger))[-1]["ends"]
    return folder


def stored(folder):
    return {
        str(path): path.read_bytes() for path in (folder / "results" / "evidence").glob("*/result*")
    }


def artifacts(folder):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (parent,) = client.search_runs([experiment], "tags.stage = 'study'")
    assert parent.info.status == "FINISHED"
    where = folder / "downloaded"
    where.mkdir(exist_ok=True)
    return Path(client.download_artifacts(parent.info.run_id, "evidence", str(where)))


@pytest.mark.long
def test_evidence_is_gathered_resumed_and_logged(study, folder):
    # A plain file where one re-training's result should go: what needs it fails alone.
    ledger = open_ledger(folder / "results")
    broken = next(c for c in grid.transfers(study) if c.regime == "standard")
    in_the_way = ledger.folder(Retraining(transfer=broken.transfer))
    in_the_way.write_bytes(b"")
    code, out, err = call("evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (1, ""), out
    assert "evidence of tiny: 2 mask comparisons, 4 record comparisons, 8 re-trainings" in out
    assert "34 of 34 to gather; 8 re-trainings took" in out
    # The re-training and its two probes.
    assert "31 of 34 pieces" in out and "3 failed" in out
    before = stored(folder)
    assert len(before) == 31

    in_the_way.unlink()

    code, out, err = call("evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (0, ""), out
    assert "3 of 34 to gather; 1 re-trainings" in out
    assert "8 of 8 re-trainings reproduced the stored scores image by image" in out
    assert before.items() <= stored(folder).items()

    complete = stored(folder)
    assert len(complete) == 34
    code, out, err = call("evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (0, ""), out
    assert "to gather" not in out and "34 of 34 pieces" in out
    assert stored(folder) == complete

    # A record that got lost: said, set aside, and complete again once its transfer is.
    (ledger.folder(broken.transfer) / "correct.safetensors").unlink()
    code, out, err = call("evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (0, ""), out
    assert "correct.safetensors: " in out and "python -m tuner run tiny.yaml" in out
    assert not ledger.has(broken.transfer)
    list(transfer.run(transfer.prepare(broken.transfer, ledger, torch.device("cpu")), ledger))
    code, out, err = call("evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (0, ""), out
    assert "damaged" not in out and "34 of 34 pieces" in out

    at = artifacts(folder)
    index = json.loads((at / "index.json").read_text())
    assert index["records"]["networks"] == 8 and index["records"]["similarity"] == 2
    for row in json.loads((at / "similarity.json").read_text()):
        assert (row["first_theta"], row["second_theta"]) == ("one", "two")
    for row in json.loads((at / "landscape.json").read_text()):
        assert (at.parent / row["file"]).is_file() and row["reproduced"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--levels", "a"], "write whole numbers"),
        (["--levels", "1", "--all"], "say one of the two"),
        (["--points", "4"], "must be odd"),
        ([], "nothing finished in results: run it first: python -m tuner run quickstart"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, words, tmp_path):
    code, out, err = call("evidence", *arguments, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
