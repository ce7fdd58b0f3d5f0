"""A real MLflow server dies, or hangs, in the middle of a real run: training goes on, and a sync
brings MLflow up to the ledger."""

from collections import Counter

import mlflow
import pytest

from search_spaces import grid
from tests.support import storage
from tests.support.commands import Command, call
from tests.support.mlflow_server import Server
from tests.support.studies import tiny, write

pytestmark = pytest.mark.long

# It is long enough for the server to die before the last transfer has ended.
OVERRIDES = (
    "pruning={random: {method: random, levels: [1, 2]}}",
    "downstream.0.seeds=[0,1,2]",
    "downstream.0.regimes.standard.recipe.epochs=3",
    "downstream.0.regimes.adversarial.recipe.epochs=3",
)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def runs(server):
    """(status, key) of every child run -> how often; the parents."""
    client = mlflow.MlflowClient(server.uri)
    number = client.get_experiment_by_name("tiny").experiment_id
    children = client.search_runs([number], "tags.stage != 'study'")
    parents = client.search_runs([number], "tags.stage = 'study'")
    return Counter((run.info.status, run.data.tags["key"]) for run in children), parents


@pytest.mark.parametrize("blow", [Server.kill, Server.halt])
def test_training_goes_on_and_a_sync_catches_up_without_duplicates(server, blow):
    folder, study = server.folder, write(tiny(*OVERRIDES), server.folder)
    tracked = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
    transfers = {cell.key for cell in grid.transfers(study)}

    def complete():
        return storage.keys(folder / "results", "transfers")

    with Command("tuner", "run", "tiny.yaml", cwd=folder, **tracked) as running:
        running.until(lambda: len(complete()) >= 2)
        blow(server)
        at_blow = complete()
        code, out, err = running.end()
    assert code == 0, out + err
    assert at_blow < transfers == complete()
    lines = out.splitlines()
    assert len([line for line in lines if line.startswith("MLflow: ")]) == 1, out
    assert any("python -m tuner sync tiny.yaml" in line for line in lines)
    assert "Traceback" not in out + err

    server.kill()
    server.start()
    wanted = Counter(("FINISHED", key) for key in grid.expand(study).keys)
    # A run that was being written as the server died is held as RUNNING until the sync.
    before = Counter(key for _, key in runs(server)[0].elements())
    assert before < Counter(key for _, key in wanted)
    code, out, err = call("tuner", "sync", "tiny.yaml", cwd=folder, **tracked)
    assert code == 0, out + err
    held, (parent,) = runs(server)
    assert held == wanted
    assert (parent.info.status, parent.data.tags["state"]) == ("FINISHED", "complete")
    assert call("tuner", "sync", "tiny.yaml", cwd=folder, **tracked).code == 0
    assert runs(server)[0] == wanted
