"""A search for real: killed and taken up again, its recipe run, MLflow and analysis."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from search_spaces import grid
from search_spaces.keys import key
from search_spaces.reading import studies
from search_spaces.trials import Trial
from tests.support.paths import ROOT
from trainables.store.ledger import Ledger
from tuner.storage import state

pytestmark = pytest.mark.long

YAML = """
name: tiny
source:
  dataset: {name: mnist-mini, size: 8, limit: 128}
  model: {arch: resnet8, width: 4}
  pretrainings: {standard: {train: {recipe: {epochs: 1, batch_size: 32, lr: 0.1}}}}
downstream:
  - dataset: {name: digits, size: 8, limit: 128}
    levels: [0]
    seeds: [0]
    regimes:
      adversarial:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 4, batch_size: 32, lr: 0.002}
evaluation: {attack: {kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}}
search:
  regime: adversarial
  pretraining: standard
  objectives: [ra, sa]
  scheduler: asha
  grace: 1
  trials: 12
  confirm: 2
  # The study's own recipe hardly learns, the second point diverges, the third learns.
  points: [{recipe.lr: 1.0e+8}, {recipe.lr: 0.1}]
  space:
    recipe.lr: {log_uniform: [1.0e-4, 1.0e+8]}
    recipe.epochs: {int: [2, 6]}
    attack.alpha: {uniform: [0.01, 0.2]}
"""


def start(module, *arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", module, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)


def call(module, *arguments, cwd):
    process = start(module, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def finished(folder):
    study = studies.load(str(folder / "tiny.yaml"))
    return state.trials(study, Ledger(folder / "results"))


def trial_files(folder):
    return {path: path.read_bytes() for path in (folder / "results/trials").glob("[!.]*/*.json")}


def logs(folder):
    return "".join(path.read_text() for path in folder.glob("results/logs/*"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search that was killed in the middle and run again: folder, files before, output."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "tiny.yaml").write_text(YAML)
    first = start("tuner", "search", "tiny.yaml", cwd=folder)
    deadline = time.monotonic() + 300
    while len(trial_files(folder)) < 2 * 4:
        assert time.monotonic() < deadline and first.poll() is None, logs(folder)
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    # Ray's processes notice that their driver is gone.
    time.sleep(5)
    before = trial_files(folder)
    code, out, err = call("tuner", "search", "tiny.yaml", cwd=folder)
    assert code == 0, out + err + logs(folder)
    return folder, before, out


def test_a_killed_search_keeps_every_finished_trial(searched):
    folder, before, out = searched
    after = trial_files(folder)
    assert len(before) >= 2 * 4
    assert {path: after[path] for path in before} == before
    done = finished(folder)
    assert len(done) == 12
    assert len({json.dumps(f.point) for f in done}) == 12
    # The second run began where the first one was cut off, and repeated nothing.
    assert f"trials: {len(before) // 2}/12" in out.splitlines()
    assert "tiny: 12 of 12 trials" in out


def test_the_shipped_recipe_and_the_points_written_are_among_the_trials(searched):
    points = [f.point for f in finished(searched[0])]
    own = {"recipe.lr": 0.002, "recipe.epochs": 4, "attack.alpha": 0.1}
    assert own in points
    assert {**own, "recipe.lr": 1e8} in points
    assert {**own, "recipe.lr": 0.1} in points


def test_the_best_recipe_is_tried_on_further_seeds(searched):
    folder, _, out = searched
    seeds = [t.seeds for t in Ledger(folder / "results").all(Trial)]
    assert (seeds.count((1,)), seeds.count((2,))) == (2, 2)
    lines = [line for line in out.splitlines() if "2 further seeds: best" in line]
    assert [line.split(",")[0] for line in lines] == ["RA", "SA"]


def test_trials_end_as_they_should(searched):
    done = finished(searched[0])
    states = {f.result["state"] for f in done}
    assert {"complete", "diverged"} <= states <= {"complete", "diverged", "stopped"}
    for f in done:
        epochs = f.trial.regime.recipe.epochs
        if f.result["state"] == "complete":
            assert len(f.result["epochs"]) == epochs
        elif f.result["state"] == "stopped":
            assert len(f.result["epochs"]) < epochs
        else:
            assert "training loss" in f.result["reason"]
    assert "Pareto front of 12 trials" in searched[2]


def test_a_further_run_trains_nothing_and_says_the_same(searched):
    folder, _, out = searched
    before = trial_files(folder)
    code, again, err = call("tuner", "search", "tiny.yaml", cwd=folder)
    assert code == 0, err
    assert trial_files(folder) == before
    assert "trials: " not in again
    head = "Pareto front"
    assert again[again.index(head) :] == out[out.index(head) :]


def test_mlflow_holds_every_trial_and_the_figures(searched, tmp_path):
    folder, _, _ = searched
    out = tmp_path / "figures"
    out.mkdir()
    code, shown, err = call("analysis", "search", "--format", "json", "--out", str(out), cwd=folder)
    assert code == 0, err
    rows = json.loads(shown)
    assert len(rows) == 12
    for row, f in zip(rows, finished(folder), strict=True):
        # JSON tables have 15 digits.
        assert {name: row[name] for name in f.point} == pytest.approx(f.point)
        assert row["RA"] == f.result["best"].get("ra")
        assert row["state"] == f.result["state"]
    assert sorted(path.name for path in out.iterdir()) == ["parallel.png", "pareto.png"]


def test_run_takes_the_winning_recipe(searched):
    folder, _, out = searched
    line = next(line for line in out.splitlines() if line.startswith("winning recipe: "))
    file = line.removeprefix("winning recipe: ")
    code, _, err = call("tuner", "run", "tiny.yaml", "--with", file, cwd=folder)
    assert code == 0, err + logs(folder)
    tuned = studies.load(str(folder / "tiny.yaml"), None, folder / file)
    best = next(f for f in finished(folder) if file.endswith(f"-{key(f.trial)}.yaml"))
    regime = tuned.downstream[0].regimes["adversarial"]
    assert regime.recipe.lr == best.point["recipe.lr"]
    assert regime.attack.alpha == best.point["attack.alpha"]
    # The transfer trained as the trial did: its curve on validation images is the trial's.
    result = Ledger(folder / "results").result(grid.transfers(tuned)[0].transfer)
    assert result["epochs"][-1]["loss"] == best.result["epochs"][-1]["loss"]
    assert result["val"] == best.result["best"]


def test_a_search_of_a_study_without_one_is_refused(tmp_path):
    text = YAML[: YAML.index("search:")]
    (tmp_path / "plain.yaml").write_text(text)
    code, out, err = call("tuner", "search", "plain.yaml", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err == "error: study tiny: has no search: section: add one to its YAML\n"
    assert [path.name for path in tmp_path.iterdir()] == ["plain.yaml"]
