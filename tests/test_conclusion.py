"""What a finished study leaves in MLflow: verdict, report, figures, winning tickets. On a ledger
with made-up results, and a real store."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from mlflow.artifacts import download_artifacts

from search_spaces import grid, reading
from search_spaces.levels import kept
from trainables.ledger import open_ledger
from tuner import conclusion, notes, registry, tracking
from tuner.agenda import agenda
from tuner.cards import ALIAS
from tuner.conclusion import conclude

YAML = """
name: made-up
source:
  dataset: {name: mnist-mini, size: 8}
  model: {arch: resnet8, width: 4}
  pretrainings:
    one: {train: {recipe: &recipe {epochs: 1, batch_size: 32, lr: 0.05}}}
pruning:
  imp: {method: imp, rounds: 3, retraining: {recipe: *recipe}}
  random: {method: random, levels: [1]}
downstream:
  - dataset: {name: digits, size: 8}
    levels: [0, 1, 2, 3]
    seeds: [0, 1]
    regimes:
      standard: {recipe: *recipe}
      adversarial:
        attack: &pgd {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: *recipe
evaluation: {attack: *pgd}
"""
WHERE = {"host": "h", "device": "cpu", "workers": 1, "torch": "2", "started": 1.0, "ended": 2.0}
MODEL = "made-up-one-digits"
IMAGES = 100


@pytest.fixture(scope="module")
def study():
    return reading.validate(reading.parse(YAML, "made-up"), "made-up")


def scored(level, pruning):
    """Of 100 images; imp loses from level 3 on, random at once."""
    loss = 20 if level > 2 or pruning == "random" else 0
    return {"sa": (90 - loss) / IMAGES, "ra": (50 - loss) / IMAGES}


@pytest.fixture(scope="module")
def ledger(study, tmp_path_factory):
    ledger = open_ledger(tmp_path_factory.mktemp("ledger"))
    rng = np.random.default_rng(0)
    weights = {"conv1.weight": rng.normal(size=(25, 4)), "fc.weight": rng.normal(size=(10, 2))}
    for cell in grid.thetas(study):
        content = safetensors.numpy.save(weights)
        ledger.write(cell.theta, {**WHERE, "state": "complete"}, {"weights.safetensors": content})
    for cell in grid.tickets(study):
        left = kept(IMAGES, cell.level, 0.2)
        mask = (np.arange(IMAGES) < left).reshape(25, 4)
        numbers = {"kept": left, "total": IMAGES, "sparsity": 1 - left / IMAGES}
        result = {**WHERE, "state": "complete", **numbers, "layers": {"conv1.weight": 0.2}}
        files = {"mask.safetensors": safetensors.numpy.save({"conv1.weight": mask})}
        ledger.write(cell.ticket, result, files)
    for cell in grid.transfers(study):
        scores = scored(cell.ticket_cell.level, cell.ticket_cell.pruning)
        right = {"clean": scores["sa"], "attacked": scores["ra"]}
        bits = {name: np.arange(IMAGES) < IMAGES * share for name, share in right.items()}
        result = {**WHERE, "state": "complete", "test": scores, "last": scores, "best_epoch": 1}
        files = {"correct.safetensors": safetensors.numpy.save(bits)}
        ledger.write(cell.transfer, {**result, "epochs": []}, files)
    return ledger


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """MLflow in a folder of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        client = tracking.connect()
        client.create_experiment("made-up", artifact_location=(folder / "artifacts").as_uri())
        yield client


@pytest.fixture
def again(client, study, ledger):
    """Concludes the study, with other answers to flags, or with flags."""

    def conclude_again(looked_at=None, flags=None):
        answered = study.model_copy(update={"looked_at": looked_at or {}})
        tracker = tracking.open_tracker(client, answered, ledger)
        tracker.catch_up()
        content = {"index.json": {"tables": {"flags": "signs"}}, "flags.json": flags or []}
        files = {name: json.dumps(value).encode() for name, value in content.items()}
        tracker.attach(files, "evidence")
        return tracker, conclude(agenda(answered, ledger), tracker)

    return conclude_again


def texts(client, tracker):
    folder = Path(client.download_artifacts(tracker.parent, ""))
    return {
        str(path.relative_to(folder)): path.read_bytes().decode(errors="replace")
        for path in folder.rglob("*.*")
    }


def test_everything_is_where_the_description_says(again, client):
    tracker, found = again()
    files = texts(client, tracker)
    assert {"study.yaml", "correct.npz", "report.html"} <= files.keys()
    assert {"figures/fig3.png", "figures/fig3.svg", "verdict/one_std.csv"} <= files.keys()
    assert files["verdict/verdict.txt"].splitlines() == found.lines
    assert "with 36.00 % of the weights removed" in files["report.html"]
    run = client.get_run(tracker.parent)
    assert run.info.status == "FINISHED" and run.data.tags["state"] == "complete"
    experiment = client.get_experiment(tracker.experiment)
    here = f"#/experiments/{tracker.experiment}/runs/{tracker.parent}"
    note = run.data.tags[notes.NOTE]
    assert f"({here}/artifacts/report.html?{notes.MODE})" in note
    for link in note.split(f"({here}/artifacts/")[1:]:
        assert link.split("?")[0] in files
    assert f"({here}?{notes.MODE})" in experiment.tags[notes.NOTE]
    for text in (note, experiment.tags[notes.NOTE]):
        assert f"(#/models/{MODEL}?{notes.MODE})" in text
    assert "36.00 % of the weights removed" in note
    view = json.loads(experiment.tags["mlflow.sharedViewState.transfers"])
    assert "metrics.`RA`" in json.loads(view["state"])["selectedColumns"]


def test_the_extreme_ticket_is_in_the_registry_once(again, client, study):
    for _ in range(2):
        tracker, found = again()
    assert found.models == [MODEL]
    (model,) = client.search_registered_models()
    (version,) = client.search_model_versions(f"name = '{MODEL}'")
    assert model.name == MODEL and model.aliases == {ALIAS: version.version}
    (extreme,) = (c for c in grid.tickets(study) if c.level == 2)
    assert version.tags["key"] == extreme.key and version.run_id == tracker.runs[extreme.key]
    text = version.description
    assert "**Sparsity 36.00 %** (level 2; exactly 36.000000 %): 64 of 100 prunable" in text
    assert "| robust accuracy (RA), adversarial training | 50.0 ± 0.0 | 50.0 ± 0.0 |" in text
    judged = (c for c in grid.transfers(study) if c.ticket_cell.ticket == extreme.ticket)
    behind = [tracker.runs[cell.key] for cell in judged]
    assert len(behind) == 4 and all(f"/runs/{run}?{notes.MODE})" in text for run in behind)


def test_the_card_s_code_loads_the_mask_over_theta(again, client, ledger, study):
    again()
    (version,) = client.search_model_versions(f"name = '{MODEL}'")
    code = version.description.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 6
    names: dict = {}
    exec(code, names)
    theta = safetensors.numpy.load_file(
        ledger.folder(grid.thetas(study)[0].theta) / "weights.safetensors"
    )
    ticket = {name: weight.numpy() for name, weight in names["ticket"].items()}
    assert np.array_equal(ticket["fc.weight"], theta["fc.weight"])
    expected = np.where(np.arange(100).reshape(25, 4) < 64, theta["conv1.weight"], 0)
    assert np.array_equal(ticket["conv1.weight"], expected)
    held = {path.name for path in Path(download_artifacts(f"models:/{MODEL}@{ALIAS}")).iterdir()}
    assert {"mask.safetensors", "theta.safetensors", f"card-{MODEL}.md"} <= held


def test_a_flagged_ticket_holds_no_alias_until_looked_at(again, client, study):
    cell = next(
        c for c in grid.transfers(study) if c.ticket_cell.level == 2 and c.regime == "adversarial"
    )
    flag = {**cell.labels, "key": cell.key, "flag": "black_box", "rule": "black beats white"}
    _, found = again(flags=[flag])
    assert found.models == [] and f"look at {cell.key}" in "\n".join(found.lines)
    assert client.get_registered_model(MODEL).aliases == {}

    tracker, found = again({cell.key: "AutoAttack agrees"}, [flag])
    assert found.models == [MODEL]
    assert client.get_registered_model(MODEL).aliases == {ALIAS: 1}
    (version,) = client.search_model_versions(f"name = '{MODEL}'")
    assert f"`{cell.key}`: AutoAttack agrees" in version.description
    assert "held to be sound: AutoAttack agrees" in texts(client, tracker)["report.html"]


def test_models_are_named_by_study_theta_and_task(study):
    assert registry.model_name(study, "one", "imp", "digits", 1.0) == MODEL
    assert registry.model_name(study, "one", "imp", "a/b:c", 0.1) == "made-up-one-a-b-c-10-percent"
    assert registry.model_name(study, "one", "random", "digits", 1.0) == f"{MODEL}-random"


def test_a_long_verdict_is_cut_in_descriptions():
    summary = notes.Summary("s", "1", "r", verdict=[f"line {n}" for n in range(1000)])
    note = notes.parent(summary)
    assert "line 0" in note and "line 999" not in note and "verdict/verdict.txt" in note


def test_what_did_not_go_as_planned_is_said():
    states = ["complete", "diverged", "diverged", "missing", "co_stopped"]
    table = pd.DataFrame({"state": states, "accumulated": [True, False, True, False, False]})
    assert conclusion._of_transfers(table) == [
        "1 stopped in catastrophic overfitting; judged by their best state before it",
        "2 diverged; judged by their best state before it",
        "2 were short of memory and took batches in parts, as BatchNorm saw them (tag accumulated)",
    ]
    assert conclusion._of_transfers(table[table["state"] == "missing"]) == []


def test_thetas_that_did_not_train_to_their_end_are_named(study, tmp_path):
    ledger = open_ledger(tmp_path)
    theta = grid.thetas(study)[0].theta
    assert conclusion._of_thetas(study, ledger) == []
    ledger.write(theta, {**WHERE, "state": "diverged", "best_epoch": 3}, {})
    assert conclusion._of_thetas(study, ledger) == [
        "theta one diverged: tickets start from its best state before, of epoch 3"
    ]
