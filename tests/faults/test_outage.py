"""A real MLflow server dies, or hangs, in the middle of a real run: training goes on, and a sync
brings MLflow up to the ledger."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import mlflow
import pytest

from search_spaces import grid
from search_spaces.keys import key
from search_spaces.reading import studies
from tests.support.paths import ROOT
from trainables.store.ledger import Ledger

pytestmark = pytest.mark.long

YAML = """
name: outage
source:
  dataset: {name: mnist-mini, size: 8, limit: 256}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: {epochs: 1, batch_size: 32, lr: 0.1}}}
pruning:
  random: {method: random, levels: [1, 2]}
downstream:
  - dataset: {name: digits, size: 8, limit: 200}
    levels: [0, 1, 2]
    seeds: [0, 1, 2]
    regimes:
      standard: {recipe: {epochs: 3, batch_size: 32, lr: 0.1}}
      adversarial:
        attack: &pgd {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 3, batch_size: 32, lr: 0.1}
evaluation: {attack: *pgd}
"""
TRANSFERS = 18


class Server:
    """`mlflow server` on loopback, always on the same store and port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.uri = folder, f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", f"{self.folder}/artifacts"]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            # A session of its own: its workers are ended with it, and nobody else.
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **quiet},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def tuner(server, *arguments):
    """Starts `python -m tuner ARGUMENTS` in the server's folder."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    environment |= {"PYTHONPATH": str(ROOT)}
    environment |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
    return subprocess.Popen(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=server.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process):
    out, _ = process.communicate(timeout=400)
    return process.returncode, out


def runs(server):
    """(status, key) of every child run -> how often; the parents."""
    client = mlflow.MlflowClient(server.uri)
    number = client.get_experiment_by_name("outage").experiment_id
    found = client.search_runs([number], "tags.stage != 'study'")
    parents = client.search_runs([number], "tags.stage = 'study'")
    return Counter((run.info.status, run.data.tags["key"]) for run in found), parents


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "halted"])
def test_training_goes_on_and_a_sync_catches_up_without_duplicates(server, blow):
    (server.folder / "outage.yaml").write_text(YAML)
    study = studies.load(str(server.folder / "outage.yaml"))
    ledger = Ledger(server.folder / "results")
    transfers = [cell.transfer for cell in grid.transfers(study)]
    assert len(transfers) == TRANSFERS

    running = tuner(server, "run", "outage.yaml")
    while sum(map(ledger.has, transfers)) < 2:
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.05)
    server.send(blow)
    at_blow = sum(map(ledger.has, transfers))
    code, out = ended(running)
    assert code == 0, out
    assert at_blow < TRANSFERS and all(map(ledger.has, transfers))
    lines = out.splitlines()
    assert "outage: 18 of 18 transfers complete" in out and "digits, margin 1 points" in lines
    assert len([line for line in lines if line.startswith("MLflow: ")]) == 1, out
    assert "MLflow lacks some of this: python -m tuner sync outage.yaml" in lines
    assert "Traceback" not in out

    server.kill()
    server.start()
    assert sum(runs(server)[0].values()) < 1 + 2 + TRANSFERS
    code, out = ended(tuner(server, "sync", "outage.yaml"))
    assert code == 0, out
    wanted = [c.theta for c in grid.thetas(study)] + [c.ticket for c in grid.tickets(study)]
    found, parents = runs(server)
    assert found == Counter(("FINISHED", key(spec)) for spec in [*wanted, *transfers])
    (parent,) = parents
    assert (parent.info.status, parent.data.tags["state"]) == ("FINISHED", "complete")
    code, out = ended(tuner(server, "sync", "outage.yaml"))
    assert (code, runs(server)[0]) == (0, found)
    assert out.startswith(f"outage: 0 runs written; {1 + 2 + TRANSFERS} there now, in {server.uri}")
