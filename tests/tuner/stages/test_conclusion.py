"""What a finished study leaves in MLflow: verdict, report, figures, winning tickets. On a ledger
with made-up results, and a real store."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from mlflow.artifacts import download_artifacts

from analysis.verdict.flags import verdicts
from analysis.verdict.one_std import levels_table
from search_spaces import grid
from tests.support import made_up
from tests.support.mlflow_store import empty_store
from trainables.store.ledger import open_ledger
from tuner.scheduling.worklist import worklist
from tuner.stages import conclusion
from tuner.stages.conclusion import conclude, from_ledger
from tuner.storage import failures, state
from tuner.storage.entries import transfer_entry
from tuner.tracking import backend, notes, opening, registry
from tuner.tracking.cards import BY_EVIDENCE, BY_PAPER

MODEL = "made-up-standard-digits"


@pytest.fixture(scope="module")
def study():
    return made_up.study()


@pytest.fixture(scope="module")
def ledger(study, tmp_path_factory):
    ledger = open_ledger(tmp_path_factory.mktemp("ledger"))
    made_up.write_source(study, ledger)
    made_up.write_transfers(ledger, grid.transfers(study))
    return ledger


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """MLflow in a folder of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", empty_store(folder))
        client = backend.connect()
        client.create_experiment("made-up", artifact_location=(folder / "artifacts").as_uri())
        yield client


@pytest.fixture
def again(client, study, ledger):
    """Concludes the study, with other answers to flags, or with flags."""

    def conclude_again(looked_at=None, flags=None):
        answered = study.model_copy(update={"looked_at": looked_at or {}})
        tracker = opening.open_tracker(client, worklist(answered, ledger), "made-up")
        tracker.catch_up()
        content = {"index.json": {"tables": {"flags": "signs"}}, "flags.json": flags or []}
        files = {name: json.dumps(value).encode() for name, value in content.items()}
        tracker.attach(files, "evidence")
        return tracker, conclude(worklist(answered, ledger), tracker)

    return conclude_again


def test_masks_drawn_for_every_seed_are_one_row_of_the_verdict(study, ledger):
    work = worklist(study, ledger)
    rows = [row for row in state.results(work).table.to_dict("records") if row["level"] == 1]
    drawn = {
        row["seed"]: work.grid.transfers[row["key"]].ticket_cell.key
        for row in rows
        if row["pruning"] == "random"
    }
    assert drawn.keys() == {0, 1} and drawn[0] != drawn[1]
    for table in verdicts(state.results(work), pd.DataFrame()):
        assert list(table["pruning"]) == ["imp", "random"]
    (level,) = levels_table(state.results(work).table).query("pruning == 'random' and level").n
    assert level == 2


def texts(client, tracker):
    folder = Path(client.download_artifacts(tracker.parent, ""))
    return {
        str(path.relative_to(folder)): path.read_bytes().decode(errors="replace")
        for path in folder.rglob("*.*")
    }


def says_as_much(text, conclusion):
    """Is what a terminal shows in the text, which is wider and goes on?"""
    return set(" ".join(conclusion.lines).split()) <= set(text.split()) and "one-std" in text


def test_everything_is_where_the_description_says(again, client):
    tracker, found = again()
    files = texts(client, tracker)
    assert {"study.yaml", "correct.npz", "report.html"} <= files.keys()
    assert {"figures/fig3.png", "figures/fig3.svg", "verdict/one_std.csv"} <= files.keys()
    assert says_as_much(files["verdict/verdict.txt"], found)
    assert "36.00 % of the weights can go" in files["report.html"]
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
    assert "36.00 % of the weights can go" in note
    view = json.loads(experiment.tags["mlflow.sharedViewState.transfers"])
    assert "metrics.`RA`" in json.loads(view["state"])["selectedColumns"]


def test_the_extreme_ticket_is_in_the_registry_once(again, client, study):
    for _ in range(2):
        tracker, found = again()
    assert found.models == [MODEL]
    (model,) = client.search_registered_models()
    (version,) = client.search_model_versions(f"name = '{MODEL}'")
    assert model.name == MODEL and model.aliases == dict.fromkeys(
        (BY_PAPER, BY_EVIDENCE), version.version
    )
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
    held = {path.name for path in Path(download_artifacts(f"models:/{MODEL}@{BY_PAPER}")).iterdir()}
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
    assert client.get_registered_model(MODEL).aliases == dict.fromkeys((BY_PAPER, BY_EVIDENCE), 1)
    (version,) = client.search_model_versions(f"name = '{MODEL}'")
    assert f"`{cell.key}`: AutoAttack agrees" in version.description
    assert "held to be sound: AutoAttack agrees" in texts(client, tracker)["report.html"]


def test_models_are_named_by_study_theta_and_task(study):
    assert registry.model_name(study, "standard", "imp", "digits", 1.0) == MODEL
    assert (
        registry.model_name(study, "standard", "imp", "a/b:c", 0.1)
        == "made-up-standard-a-b-c-10-percent"
    )
    assert registry.model_name(study, "standard", "random", "digits", 1.0) == f"{MODEL}-random"


def test_a_long_verdict_is_cut_in_descriptions():
    summary = notes.Summary("s", "1", "r", verdict=[f"line {n}" for n in range(1000)])
    note = notes.parent(summary)
    assert "line 0" in note and "line 999" not in note and "verdict/verdict.txt" in note


def test_a_verdict_with_holes_says_so_everywhere(study, tmp_path, monkeypatch):
    """Of level 2 a seed is missing, of level 3 everything; one transfer has failed."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    monkeypatch.chdir(tmp_path)
    client, ledger = backend.connect(), open_ledger(tmp_path / "results")
    made_up.write_source(study, ledger)
    cells = grid.transfers(study)
    lost = [
        c
        for c in cells
        if c.ticket_cell.level == 3
        or (c.ticket_cell.level, c.transfer.seed, c.regime) == (2, 1, "adversarial")
    ]
    made_up.write_transfers(ledger, [cell for cell in cells if cell not in lost])
    why = failures.FailureReason("ValueError: boom", "", outside=False)
    failures.record(ledger, transfer_entry(lost[0]), study.name, why)

    tracker = opening.open_tracker(client, worklist(study, ledger), "made-up")
    tracker.catch_up()
    found = conclude(worklist(study, ledger), tracker)
    assert (found.done, found.total) == (15, 20)
    text = "\n".join(found.lines)
    assert found.lines[0].startswith("INCOMPLETE: 5 of 20 transfers are missing (1 failed)")
    # The star marks what may still change: of imp's rows, not of random's, which lack nothing.
    assert "36.00 %*" in text
    assert not [line for line in found.lines if " random " in line and "*" in line]
    assert "* standard imp on digits: 5 of 16 transfers are missing: may still change" in text
    assert "missing seeds: 36.00 % (1 of 2)" in text
    assert "incomplete: 48.80 %, the extreme may be higher" in text
    assert "confirmed" not in text
    assert from_ledger(worklist(study, ledger)).lines == found.lines
    run = client.get_run(tracker.parent)
    assert (run.info.status, run.data.tags["state"]) == ("FAILED", "incomplete")
    assert "15 of 20 transfers are complete (what is said below" in run.data.tags[notes.NOTE]
    assert says_as_much(texts(client, tracker)["verdict/verdict.txt"], found)


def test_the_ledger_alone_gives_the_same_verdict(again, study, ledger):
    _, found = again()
    alone = from_ledger(worklist(study, ledger))
    assert alone.lines == found.lines and (alone.done, alone.total) == (20, 20)
    assert (alone.reported, alone.models) == (False, [])


def test_what_did_not_go_as_planned_is_said():
    states = ["complete", "diverged", "diverged", "missing", "co_stopped"]
    table = pd.DataFrame({"state": states})
    assert conclusion.ended_early(table) == [
        "1 stopped in catastrophic overfitting; judged by their best state before it",
        "2 diverged; judged by their best state before it",
    ]
    assert conclusion.ended_early(table[table["state"] == "missing"]) == []


def test_thetas_that_did_not_train_to_their_end_are_named(study, tmp_path):
    ledger = open_ledger(tmp_path)
    theta = grid.thetas(study)[0].theta
    assert from_ledger(worklist(study, ledger)).notes == []
    ledger.write(theta, {**made_up.WHERE, "state": "diverged", "best_epoch": 3}, {})
    assert from_ledger(worklist(study, ledger)).notes == [
        "theta standard diverged: tickets start from its best state before, of epoch 3"
    ]


def test_several_source_seeds_are_judged_together(study, tmp_path):
    source = study.source.model_copy(update={"seeds": (0, 1)})
    replicated = study.model_copy(update={"source": source})
    ledger = open_ledger(tmp_path)
    made_up.write_source(replicated, ledger)
    made_up.write_transfers(ledger, grid.transfers(replicated))
    work = worklist(replicated, ledger)
    results = state.results(work)
    assert results.expected["source_seed"].value_counts().to_dict() == {0: 20, 1: 20}
    one_std, shown = verdicts(results, pd.DataFrame())
    assert set(one_std["source_seeds"]) == set(shown["source_seeds"]) == {2}
    # Made-up scores depend on the level alone: what source seeds say is sure, what images say not.
    assert shown.set_index("pruning").loc["imp", ["n", "dense_n"]].tolist() == [2, 2]
    won = registry.winners(work, one_std, shown, pd.DataFrame())
    assert [(w.cell.theta_cell.name, w.cell.level) for w in won] == [("standard", 2)]
