"""The two ways into an MLflow store say the same, past its 1,000-row page and in time."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from analysis.store import artifacts, load, runs
from analysis.store.disclosure import public
from search_spaces.errors import InputError
from tests.support.paths import ROOT
from tests.support.synthetic import Bulk, large_study


@pytest.fixture(scope="module")
def bulk(tmp_path_factory):
    """1,458 finished transfers, and beside them a run with curves and files."""
    bulk = Bulk(tmp_path_factory.mktemp("bulk"))
    parent = bulk.add(large_study("wide", seeds=[0], fractions=[1.0]))
    client = MlflowClient(tracking_uri=bulk.uri)
    client.log_text(parent, "{}", "evidence/masks.json")
    client.log_param(parent, "colour", "blue")
    for step, value in enumerate((0.5, 0.25, float("nan"))):
        client.log_metric(parent, "loss", value, step=step)
    return bulk


def through_client(monkeypatch):
    monkeypatch.setattr(runs, "direct", lambda uri: None)


def test_both_ways_read_the_same_past_one_page(bulk, monkeypatch):
    direct = load.load("wide", bulk.uri)
    through_client(monkeypatch)
    client = load.load("wide", bulk.uri)
    assert len(direct.table) == 1458 > runs.PAGE and direct.missing.empty
    pd.testing.assert_frame_equal(client.table, direct.table)
    ours = {**vars(direct.parent), "metrics": None}
    assert {**vars(client.parent), "metrics": None} == ours


def test_both_ways_answer_the_same_questions(bulk, monkeypatch):
    answers = []
    for _ in range(2):
        with runs.opened(bulk.uri) as opened:
            (run,) = opened.runs(["study"])
            points = list(opened.histories([run.run_id], ["loss", "none"]))
            answers.append((opened.params(run.run_id), points[:2], pd.isna(points[2][3])))
            assert opened.runs(["study"], "no such experiment") == []
        through_client(monkeypatch)
    assert answers[0] == answers[1]
    params, points, last_is_missing = answers[0]
    assert params == {"colour": "blue"} and last_is_missing
    assert [point[1:] for point in points] == [("loss", 0, 0.5), ("loss", 1, 0.25)]


def test_pages_are_followed_to_the_end(bulk, monkeypatch):
    through_client(monkeypatch)
    monkeypatch.setattr(runs, "PAGE", 97)
    assert len(load.load("wide", bulk.uri).table) == 1458


def test_a_database_of_another_shape_goes_through_the_client(bulk, monkeypatch):
    monkeypatch.setattr(runs, "_PARAMS", "SELECT colour FROM params")
    with runs.opened(bulk.uri) as opened:
        assert isinstance(opened, runs.Client)


def test_artifacts_are_read_in_place_or_through_mlflow(bulk, monkeypatch):
    run = load.load("wide", bulk.uri).parent
    for _ in range(2):
        assert artifacts.read(run, "evidence/masks.json", bulk.uri) == b"{}"
        assert artifacts.read(run, "evidence/none.json", bulk.uri) is None
        assert artifacts.read(run, "none/none.json", bulk.uri) is None
        assert artifacts.names(run, bulk.uri) == ["evidence", "study.yaml"]
        assert artifacts.names(run, bulk.uri, "evidence") == ["evidence/masks.json"]
        monkeypatch.setattr(artifacts, "folder", lambda run, uri: None)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:secret@tracking.org/path", "https://tracking.org/path"),
        ("postgresql://me:se@cret@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("sqlite:///a@b/mlflow.db", "sqlite:///a@b/mlflow.db"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("databricks", "databricks"),
    ],
)
def test_a_uri_is_shown_without_its_secrets(uri, shown):
    assert public(uri) == shown


def test_an_error_shows_no_password():
    with pytest.raises(InputError) as error, runs.opened("nonsense://me:secret@x"):
        pass
    assert "secret" not in str(error.value)


GROUPED = ("--group-by", "theta,pruning,level,dataset,fraction,regime")


def test_ten_thousand_transfers_are_read_whole(tmp_path):
    bulk = Bulk(tmp_path)
    bulk.add(large_study())
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "trials", *GROUPED],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": bulk.uri},
    )
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1 + 10206 // 3
