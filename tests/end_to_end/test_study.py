"""The whole platform on a tiny study: Ray Train with two workers, Ray Tune, MLflow, analysis."""

import json

import mlflow
import pytest
import torch

from analysis.store import load, spans
from search_spaces import grid
from tests.support import storage
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import open_ledger
from trainables.training.ranks import Shard


@pytest.fixture
def there(ran, monkeypatch):
    """Commands in this process work where the study was run."""
    monkeypatch.chdir(ran.folder)
    # In full: MLflow keeps one store a URI, for every folder of a process.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{ran.folder / 'mlflow.db'}")


def rows(printed):
    """The table of a verdict: what begins with a theta of the study."""
    return [line for line in printed.splitlines() if line.startswith(("standard", "adversarial"))]


def test_everything_is_complete(ran):
    wanted = list(grid.expand(ran.study).sources.values())
    assert len(wanted) == 2 + 6
    wanted += [cell.transfer for cell in grid.transfers(ran.study)]
    assert all(ran.ledger.has(spec) for spec in wanted)
    assert sum(len(storage.keys(ran.ledger.root, kind)) for kind in storage.KINDS) == len(wanted)
    assert not list((ran.ledger.root / "ray").glob("*-*"))
    assert not list((ran.ledger.root / "unfinished").iterdir())


def test_the_stopper_ended_collapsed_transfers_and_kept_their_best_state(ran):
    watched = [c for c in grid.transfers(ran.study) if c.regime == "fast_adversarial"]
    results = [ran.ledger.result(cell.transfer) for cell in watched]
    stopped = [result for result in results if result["state"] == "co_stopped"]
    assert stopped
    for result in stopped:
        assert len(result["epochs"]) < 8
        best = result["epochs"][result["best_epoch"] - 1]["val"]
        assert best["ra"] == max(epoch["val"]["ra"] for epoch in result["epochs"])


@pytest.mark.usefixtures("there")
def test_mlflow_holds_what_the_ledger_holds(ran, analysis):
    code, out, err = analysis("trials", "--format", "json")
    assert (code, err) == (0, "")
    trials = {row["key"]: row for row in json.loads(out)}
    cells = grid.transfers(ran.study)
    assert trials.keys() == {cell.key for cell in cells}
    for cell in cells:
        row, result = trials[cell.key], ran.ledger.result(cell.transfer)
        assert (row["SA"], row["RA"]) == (result["test"]["sa"], result["test"]["ra"])
        assert (row["state"], row["epochs"]) == (result["state"], len(result["epochs"]))


@pytest.mark.usefixtures("there")
def test_the_timeline_has_every_result_of_the_run(ran, analysis):
    table = spans.spans(load.load("tiny"))
    assert set(table["key"]) == grid.expand(ran.study).keys
    for row in table.to_dict("records"):
        assert 0 <= row["end"] - row["begin"] < 600
    code, out, err = analysis("timeline", "--out", "when.svg")
    assert (code, err) == (0, "")
    assert out.startswith(f"{len(table)} results") and (ran.folder / "when.svg").is_file()


def test_the_run_is_accounted_for(ran):
    client = mlflow.MlflowClient(f"sqlite:///{ran.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (parent,) = client.search_runs([experiment], "tags.stage = 'study'")
    assert parent.info.status == "FINISHED"
    took = parent.data.metrics
    for stage in ("source", "transfers"):
        assert 0 < took[f"{stage}_seconds"] < took["wall_seconds"]


@pytest.mark.usefixtures("there")
def test_a_second_run_trains_nothing_and_mlflow_alone_tells_the_same_verdict(ran, tuner, analysis):
    before, verdict = storage.files(ran.ledger.root), rows(ran.ended.out)
    assert len(verdict) >= 3
    again = tuner("run", "tiny.yaml", "--workers", "2")
    assert again.code == 0, again.err
    assert storage.files(ran.ledger.root) == before
    assert rows(again.out) == verdict and "stage" not in again.out
    told = analysis("extreme")
    assert (told.code, told.err) == (0, "")
    assert rows(told.out) == verdict


def test_another_storage_gives_the_same_numbers(ran, tmp_path):
    """Nothing but the specs decides: trained anew, without Ray, in another order."""
    ledger = open_ledger(tmp_path)
    cells = [cell for cell in grid.transfers(ran.study) if cell.regime == "adversarial"]
    for cell in cells[::-5]:
        task = transfer.prepare(cell.transfer, ran.ledger, torch.device("cpu"))
        assert list(transfer.run(task, ledger))[-1]["ends"]
        here, there = ledger.result(cell.transfer), ran.ledger.result(cell.transfer)
        assert here["test"] == there["test"] and here["last"] == there["last"]
        assert [e["loss"] for e in here["epochs"]] == [e["loss"] for e in there["epochs"]]


def test_two_workers_train_one_network(ran, tmp_path):
    """Data-parallel training ends close to one process's: batches are the same, their parts'
    BatchNorm statistics are not."""
    theta = grid.thetas(ran.study)[0].theta
    together = ran.ledger.result(theta)
    assert together["workers"] == 2
    worker = Worker(open_ledger(tmp_path), Shard(), torch.device("cpu"))
    list(run_chain(Chain(theta=theta, plans=()), worker))
    alone = worker.ledger.result(theta)
    for both, one in zip(together["epochs"], alone["epochs"], strict=True):
        assert abs(both["loss"] - one["loss"]) < 0.35
        assert both["lr"] == one["lr"]


def test_ray_listens_on_loopback_behind_a_token(ran):
    assert {"gcs_server", "raylet"} <= {name for name, _ in ran.ray.sockets}
    assert {address for _, address in ran.ray.sockets} == {"127.0.0.1"}, ran.ray.sockets
    (token,) = ran.ray.tokens
    assert len(token) == 64
    assert ran.logged and token.encode() not in ran.logged
