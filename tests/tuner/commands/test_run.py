"""What a run says of a study that is complete: from the ledger, and in commands that work."""

import shlex
import socket
from pathlib import Path

import pytest

from search_spaces import grid
from search_spaces.errors import InputError
from tests.support import made_up
from tests.support.studies import tiny
from trainables.store.ledger import open_ledger
from tuner.commands.run import further, run_study
from tuner.runtime.settings import Origin, Settings, named, rerun

ORIGIN = "my studies/made up.yaml"


@pytest.fixture
def away(monkeypatch):
    """No server is where MLflow's is said to be."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """A storage with a space in its name, with all of the study but two transfers."""
    monkeypatch.chdir(tmp_path)
    study, ledger = made_up.study(), open_ledger(tmp_path / "re sults")
    made_up.write_source(study, ledger)
    made_up.write_transfers(ledger, grid.transfers(study)[:-2])
    return ledger


def test_with_mlflow_away_a_complete_study_still_has_its_verdict(ledger, away, capfd):
    study, settings = made_up.study(), Settings(storage=ledger.root)
    made_up.write_transfers(ledger, grid.transfers(study)[-2:])
    assert run_study(study, settings, Origin(ORIGIN)) == 0
    lines = capfd.readouterr().out.splitlines()
    assert any(line.startswith("made-up: 20 of 20 transfers complete") for line in lines)
    assert any(line.split()[1:3] == ["imp", "36.00"] for line in lines)
    hint = next(line for line in lines if "python -m tuner sync" in line)
    words = shlex.split(hint.partition(": ")[2])
    assert words == [*["python", "-m", "tuner", "sync"], ORIGIN, "--storage", str(ledger.root)]


def test_with_mlflow_away_nothing_is_started(ledger, away, capfd):
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI"):
        run_study(made_up.study(), Settings(storage=ledger.root), Origin(ORIGIN))
    assert not (ledger.root / "logs").exists()


OVERRIDDEN = Origin(
    ORIGIN, ("downstream.0.seeds=[7, 3]", "source.seed=1"), (Path("a b.yaml"), Path("c.yaml"))
)
STUDY = [ORIGIN, "--with", "a b.yaml", "--with", "c.yaml", "--set"]


def test_a_command_names_all_that_decides_the_study_and_how_it_is_run():
    settings = Settings(Path("re sults"), Path("/my data"), "host:1", workers=2, cpus=0.5, gpus=0.0)
    study = [*STUDY, "downstream.0.seeds=[7, 3]", "--set", "source.seed=1"]
    study += ["--storage", "re sults", "--data", "/my data"]
    assert shlex.split(named(OVERRIDDEN, settings)) == study
    means = ["--address", "host:1", "--workers", "2"]
    means += ["--cpus-per-trial", "0.5", "--gpus-per-trial", "0.0"]
    assert shlex.split(rerun(OVERRIDDEN, settings)) == [*study, *means]
    assert rerun(Origin("quickstart"), Settings()) == "quickstart"


def test_seeds_are_added_to_the_study_s_own():
    more, settle = further(tiny("downstream.0.seeds=[7, 3]"), OVERRIDDEN)
    assert not settle
    words = [*STUDY, "source.seed=1", "--set", "downstream.0.seeds=[7,3,8,9]"]
    assert shlex.split(named(more, Settings())) == words


def test_a_search_of_levels_asks_for_its_own_seeds():
    searched = tiny("downstream.0.levels=adaptive")
    assert further(searched, OVERRIDDEN) == (OVERRIDDEN, True)
