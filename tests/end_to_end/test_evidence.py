"""`python -m tuner evidence` on a tiny finished study: Ray and MLflow for real, read by name."""

import json
from pathlib import Path

import mlflow
import pytest
import torch

from search_spaces import grid
from search_spaces.finished.evidence import Retraining
from tests.support import storage
from tests.support.commands import call
from tests.support.studies import tiny, write
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import open_ledger
from trainables.training.ranks import Shard

pytestmark = pytest.mark.long

RECIPE = "{epochs: %d, batch_size: 32, lr: 0.05}"
STUDY = tiny(
    "source.dataset.limit=96",
    f"source.pretrainings={{one: {{train: {{recipe: {RECIPE % 1}}}}},"
    f" two: {{train: {{recipe: {RECIPE % 2}}}}}}}",
    f"pruning={{imp: {{method: imp, rounds: 2, retraining: {{recipe: {RECIPE % 1}}}}}}}",
    "downstream.0.dataset.limit=96",
    "downstream.0.levels=[0,2]",
    "downstream.0.seeds=[0]",
    "evaluation.attack={kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}",
)
FEW = ("--points", "3", "--images", "16", "--autoattack-images", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the study is finished, without Ray."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("evidence")
    write(STUDY, folder)
    worker = Worker(open_ledger(folder / "results"), Shard(), torch.device("cpu"))
    for cell in grid.thetas(STUDY):
        list(run_chain(Chain(theta=cell.theta, plans=tuple(STUDY.pruning.values())), worker))
    for cell in grid.transfers(STUDY):
        task = transfer.prepare(cell.transfer, worker.ledger, worker.device)
        assert list(transfer.run(task, worker.ledger))[-1]["ends"]
    return folder


def stored(folder):
    files = storage.files(folder / "results").items()
    return {
        name: content
        for name, content in files
        if name.startswith("evidence/") and "/result" in name
    }


def artifacts(folder):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (parent,) = client.search_runs([experiment], "tags.stage = 'study'")
    assert parent.info.status == "FINISHED"
    where = folder / "downloaded"
    where.mkdir(exist_ok=True)
    return Path(client.download_artifacts(parent.info.run_id, "evidence", str(where)))


def test_evidence_is_gathered_resumed_and_logged(folder):
    # A plain file where one re-training's result should go: what needs it fails alone.
    ledger = open_ledger(folder / "results")
    broken = next(c for c in grid.transfers(STUDY) if c.regime == "standard")
    in_the_way = ledger.folder(Retraining(transfer=broken.transfer))
    in_the_way.write_bytes(b"")
    code, out, err = call("tuner", "evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (1, ""), out
    # All of 34 but the re-training and its two probes.
    assert "34 of 34 to gather" in out and "31 of 34 pieces" in out and "3 failed" in out
    before = stored(folder)
    assert len(before) == 31

    in_the_way.unlink()

    code, out, err = call("tuner", "evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (0, ""), out
    assert "3 of 34 to gather" in out and "8 of 8 re-trainings reproduced" in out
    assert before.items() <= stored(folder).items()

    complete = stored(folder)
    assert len(complete) == 34
    code, out, err = call("tuner", "evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (0, ""), out
    assert "to gather" not in out and "34 of 34 pieces" in out
    assert stored(folder) == complete

    # A record that got lost: said, set aside, and complete again once its transfer is.
    (ledger.folder(broken.transfer) / "correct.safetensors").unlink()
    code, out, err = call("tuner", "evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (0, ""), out
    assert "correct.safetensors: " in out and "python -m tuner run tiny.yaml" in out
    assert not ledger.has(broken.transfer)
    list(transfer.run(transfer.prepare(broken.transfer, ledger, torch.device("cpu")), ledger))
    code, out, err = call("tuner", "evidence", "tiny.yaml", *FEW, cwd=folder)
    assert (code, err) == (0, ""), out
    assert "damaged" not in out and "34 of 34 pieces" in out

    at = artifacts(folder)
    index = json.loads((at / "index.json").read_text())
    assert index["records"]["networks"] == 8 and index["records"]["similarity"] == 2
    for row in json.loads((at / "similarity.json").read_text()):
        assert (row["first_theta"], row["second_theta"]) == ("one", "two")
    for row in json.loads((at / "landscape.json").read_text()):
        assert (at.parent / row["file"]).is_file() and row["reproduced"]
