"""One MLflow store for writer and readers, whatever its folder is called and wherever it goes."""

import errno
import os
import shutil

import pytest

from analysis.store import artifacts, load, places, runs
from analysis.store.runs import address
from search_spaces import grid
from tests.support import made_up, studies
from trainables.store.ledger import open_ledger
from tuner.tracking import backend

ODD = "My Project #1, 100%25? ö 研究"
FILES = {"study.yaml", "correct.npz", "report.html", "verdict", "figures"}


@pytest.fixture
def project(tmp_path, monkeypatch, request):
    """A folder with a finished study in it. Its store is named, for MLflow keeps the file that a
    relative name stood for first in a process, but where the test is of that."""
    folder = tmp_path / getattr(request, "param", "here #1 ö")
    folder.mkdir()
    enter(folder, monkeypatch)
    study = studies.write(made_up.study(), folder)
    ledger = open_ledger(folder / "results")
    made_up.write_source(study, ledger)
    made_up.write_transfers(ledger, grid.transfers(study))
    return folder


def enter(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def held():
    """The study's results and the names of its parent run's artifacts, as `analysis` sees them."""
    results = load.load("made-up")
    return len(results.table), {*artifacts.names(results.parent, address(None))}


@pytest.mark.parametrize("project", [ODD], indirect=True)
def test_the_default_store_in_any_folder_with_an_old_file_store_beside(
    project, tuner, analysis, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    old = project / "mlruns" / "0"
    old.mkdir(parents=True)
    (old / "meta.yaml").write_text("name: Default\n")
    assert tuner("sync", "made-up.yaml").code == 0
    count, names = held()
    assert count == 20 and names >= FILES
    assert {path.name for path in project.iterdir()} == {
        *("made-up.yaml", "results", "mlflow.db", "mlruns")
    }
    assert {path.name for path in project.parent.iterdir()} == {ODD}
    assert analysis("extreme", "--study", "made-up").code == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a store in it, and in the store a study's run with a file and a version of a
    model."""
    folder = tmp_path_factory.mktemp("made") / "here #1 ö"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        client = backend.connect()
        place = (folder / "mlruns" / "made-up").as_uri()
        number = client.create_experiment("made-up", artifact_location=place)
        run = client.create_run(number, tags={"stage": "study"}).info
        client.log_text(run.run_id, "before", "study.yaml")
        client.create_registered_model("ticket")
        client.create_model_version("ticket", f"{run.artifact_uri}/ticket", run.run_id)
    return folder


@pytest.mark.parametrize("how", ["copied", "moved", "moved without its artifacts"])
def test_artifacts_follow_their_folder(made, how, tmp_path, monkeypatch):
    there, parked = tmp_path / "there #2", tmp_path / "parked"
    shutil.copytree(made, there)
    if how == "moved without its artifacts":
        shutil.rmtree(there / "mlruns")
    if how != "copied":
        made.rename(parked)
    try:
        enter(there, monkeypatch)
        if how != "moved without its artifacts":
            # Readers find them beside the database before a writer has been there.
            with runs.opened(address(None)) as store:
                (run,) = store.runs(["study"])
            (there / "mlruns" / "made-up" / run.run_id / "artifacts" / "study.yaml").write_text("b")
            assert artifacts.read(run, "study.yaml", address(None)) == b"b"
        before, client = files(made), backend.connect()
        own = (there / "mlruns" / "made-up").as_uri()
        experiment = client.get_experiment_by_name("made-up")
        assert experiment.artifact_location == own
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.artifact_uri == f"{own}/{run.info.run_id}/artifacts"
        assert client.get_model_version("ticket", "1").source == f"{run.info.artifact_uri}/ticket"
        fresh = client.create_run(experiment.experiment_id).info.run_id
        client.log_text(fresh, "after", "study.yaml")
        assert f"mlruns/made-up/{fresh}/artifacts/study.yaml" in files(there)
        assert files(made) == before and made.exists() == (how == "copied")
    finally:
        if parked.exists():
            parked.rename(made)


def test_a_store_is_made_where_there_are_no_hard_links(project, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    backend.connect().create_experiment("s")
    assert backend.connect().get_experiment_by_name("s") is not None
    assert not [name for name in os.listdir(project) if name.startswith(".")]


def test_artifacts_elsewhere_stay_there(project, tuner):
    """A store whose artifacts were put on another disk is no moved one."""
    client = backend.connect()
    disk = project.parent / "disk" / "mlruns" / "1"
    disk.mkdir(parents=True)
    client.create_experiment("made-up", artifact_location=disk.as_uri())
    assert tuner("sync", "made-up.yaml").code == 0
    (experiment,) = backend.connect().search_experiments(filter_string="name = 'made-up'")
    assert experiment.artifact_location == disk.as_uri()
    assert held()[1] >= FILES and not (project / "mlruns").exists()


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:////a b#c%20/mlflow.db?timeout=5", "/a b#c%20/mlflow.db"),
        ("https://host/sqlite:///x", None),
        ("postgresql://host/db", None),
    ],
)
def test_the_file_of_a_store(uri, path):
    found = places.database(uri)
    assert (found and str(found)) == path
