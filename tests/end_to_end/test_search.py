"""A search for real: killed and taken up again, its recipe run, MLflow and analysis."""

import json

import pytest

from search_spaces import grid
from search_spaces.keys import key
from search_spaces.reading import studies
from search_spaces.trials import Trial
from tests.support import storage
from tests.support.commands import Command, call, left
from tests.support.studies import tiny, write
from trainables.store.ledger import Ledger
from tuner.storage import state

pytestmark = pytest.mark.long

STUDY = tiny(
    "source.dataset.limit=128",
    "pruning={}",
    "downstream.0.dataset.limit=128",
    "downstream.0.levels=[0]",
    "downstream.0.seeds=[0]",
    "downstream.0.regimes={adversarial: {attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1},"
    " recipe: {epochs: 4, batch_size: 32, lr: 0.002}}}",
    "evaluation.attack={kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}",
    "search={regime: adversarial, pretraining: standard, objectives: [ra, sa], scheduler: asha,"
    " grace: 1, trials: 12, confirm: 2,"
    # The study's own recipe hardly learns, the second point diverges, the third learns.
    " points: [{recipe.lr: 1.0e+8}, {recipe.lr: 0.1}],"
    " space: {recipe.lr: {log_uniform: [1.0e-4, 1.0e+8]}, recipe.epochs: {int: [2, 6]},"
    " attack.alpha: {uniform: [0.01, 0.2]}}}",
)


def finished(folder):
    return state.trials(STUDY, Ledger(folder / "results"))


def trial_files(folder):
    return {
        name: content
        for name, content in storage.files(folder / "results").items()
        if name.startswith("trials/") and name.endswith(".json")
    }


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search that was killed in the middle and run again: folder, files before, output."""
    folder = tmp_path_factory.mktemp("search")
    write(STUDY, folder)
    with Command("tuner", "search", "tiny.yaml", cwd=folder) as first:
        first.until(lambda: len(storage.keys(folder / "results", "trials")) >= 4)
        started = first.below()
        first.process.kill()
    assert left(started, 90) == []
    before = trial_files(folder)
    code, out, err = call("tuner", "search", "tiny.yaml", cwd=folder)
    assert code == 0, out + err + storage.logs(folder / "results")
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
    assert code == 0, err + storage.logs(folder / "results")
    tuned = studies.load(str(folder / "tiny.yaml"), None, folder / file)
    best = next(f for f in finished(folder) if file.endswith(f"-{key(f.trial)}.yaml"))
    regime = tuned.downstream[0].regimes["adversarial"]
    assert regime.recipe.lr == best.point["recipe.lr"]
    assert regime.attack.alpha == best.point["attack.alpha"]
    # The transfer trained as the trial did: its curve on validation images is the trial's.
    result = Ledger(folder / "results").result(grid.transfers(tuned)[0].transfer)
    assert result["epochs"][-1]["loss"] == best.result["epochs"][-1]["loss"]
    assert result["val"] == best.result["best"]
