"""A transfer trained again, and what is found out about it: all without Ray."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from search_spaces import grid
from search_spaces.finished.evidence import (
    AttackEvidence,
    Calibration,
    Landscape,
    MaskEvidence,
    RecordEvidence,
    Retraining,
    from_json,
)
from search_spaces.finished.weights import weights
from search_spaces.keys import key
from search_spaces.reading import studies
from trainables.evidence import gather, gradient_masking, landscape, retraining
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import open_ledger
from trainables.store.tensors import read
from trainables.training.ranks import Shard
from tuner.evidence import plan, records
from tuner.evidence.plan import Wish
from tuner.scheduling.worklist import worklist

YAML = """
name: tiny
source:
  dataset: {name: digits, size: 8, limit: 96}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: {epochs: 2, batch_size: 32, lr: 0.05}}}
    adversarial:
      train:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 1, batch_size: 32, lr: 0.05}
pruning:
  imp: {method: imp, rounds: 3, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
downstream:
  - dataset: {name: mnist-mini, size: 8, limit: 96, augment: {crop: 1}}
    levels: [0, 1, 3]
    seeds: [0, 1]
    regimes:
      standard: {recipe: {epochs: 3, batch_size: 16, lr: 0.05}}
      adversarial:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 3, batch_size: 16, lr: 0.05}
evaluation: {attack: {kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}}
"""
WISH = Wish(points=5, images=32, autoattack_images=0, paths=True)


@pytest.fixture(scope="module")
def study():
    return studies.validate(studies.parse(YAML, "tiny"), "tiny")


@pytest.fixture(scope="module")
def ledger(study, tmp_path_factory):
    """The study finished, but for one transfer."""
    torch.set_num_threads(1)
    ledger = open_ledger(tmp_path_factory.mktemp("done"))
    worker = Worker(ledger, Shard(), torch.device("cpu"))
    for cell in grid.thetas(study):
        list(run_chain(Chain(theta=cell.theta, plans=tuple(study.pruning.values())), worker))
    for cell in grid.transfers(study)[:-1]:
        task = transfer.prepare(cell.transfer, ledger, worker.device)
        assert list(transfer.run(task, ledger))[-1]["ends"]
    return ledger


@pytest.fixture(scope="module")
def gathered(study, ledger):
    """All evidence of the study by the plan, gathered in this process."""
    planned = plan.plan(worklist(study, ledger), WISH)
    for piece in planned.pieces:
        gather.gather(piece.model_dump_json(), str(ledger.root))
    return planned


def cells(study, **labels):
    return [
        c for c in grid.transfers(study) if all(c.labels[name] == v for name, v in labels.items())
    ]


def arrays(ledger, spec, name):
    with np.load(ledger.folder(spec) / name, allow_pickle=False) as file:
        return dict(file)


def test_every_retraining_reproduces_its_transfer_bit_for_bit(gathered, ledger):
    found = [piece for piece in gathered.first if isinstance(piece, Retraining)]
    assert len(found) >= 8
    for spec in found:
        result = ledger.result(spec)
        assert result["reproduced"] is True
        assert result["test"] == result["stored"] == ledger.result(spec.transfer)["test"]


@pytest.mark.parametrize("change", [0, 1 / 2000])
def test_weights_are_kept_of_what_is_reproduced_and_of_nothing_else(
    study, ledger, tmp_path, change
):
    spec = Retraining(transfer=cells(study, regime="standard", level=3)[0].transfer)
    other, kept = open_ledger(tmp_path), weights(spec.transfer)
    for part in (spec.transfer.ticket.theta, spec.transfer.ticket, spec.transfer):
        here = ledger.folder(part)
        files = {p.name: p.read_bytes() for p in here.glob("*.safetensors")}
        result = ledger.result(part)
        if part is spec.transfer:
            result["test"]["sa"] += change
        other.write(part, result, files)
    assert retraining.retrain(spec, other)[0]["reproduced"] is (change == 0)
    assert other.has(kept) is (change == 0)
    if change == 0:
        assert other.files(kept) == ledger.files(kept)


def test_the_weights_kept_are_those_that_were_judged(study, gathered, ledger):
    cell = cells(study, regime="adversarial", level=1, theta="adversarial")[0]
    spec = Retraining(transfer=cell.transfer)
    task = retraining.trained(spec, ledger)
    mask = read(ledger.folder(cell.transfer.ticket) / "mask.safetensors")
    weights = dict(task.net.named_parameters())
    assert all(not weights[name][~m].any() for name, m in mask.items())
    for direction in retraining.directions(spec, ledger):
        assert all(not direction[name][~m].any() for name, m in mask.items())
    right = []
    for batch in task.data.test.stream([torch.arange(len(task.data.test))], None):
        right = task.net(batch.pixels()).argmax(1) == batch.y
    stored = read(ledger.folder(cell.transfer) / "correct.safetensors")
    assert torch.equal(right, stored["clean"])


def test_the_path_starts_before_training_and_passes_the_judged_weights(gathered, ledger):
    for spec in gathered.first:
        if not isinstance(spec, Retraining):
            continue
        path = ledger.result(spec)["path"]
        assert path["epochs"] == [0, 1, 2, 3]
        best = ledger.result(spec)["best_epoch"]
        assert path["coordinates"][best] == pytest.approx([0, 0], abs=1e-6)
        assert path["coordinates"][0][0] > 0
        assert 0.5 < sum(path["explained"]) <= 1 + 1e-9


def test_few_snapshots_are_spread_over_the_epochs(study, ledger):
    spec = Retraining(transfer=cells(study, regime="standard")[0].transfer, snapshots=2)
    assert retraining.retrain(spec, ledger)[0]["path"]["epochs"] == [0, 3]


def test_kept_weights_need_no_retraining(study, gathered, ledger):
    planned = plan.plan(worklist(study, ledger), replace(WISH, paths=False))
    assert not [piece for piece in planned.pieces if isinstance(piece, Retraining)]
    mine = next(piece for piece in planned.probes if isinstance(piece, Landscape))
    _, files = landscape.survey(mine, ledger)
    with np.load(io.BytesIO(files["surfaces.npz"]), allow_pickle=False) as file:
        own = dict(file)
    walked = arrays(ledger, mine.model_copy(update={"path": True}), "surfaces.npz")
    assert own.keys() == {f"random_{each}" for each in ("x", "y", "clean", "attacked")}
    assert all(np.array_equal(own[name], walked[name]) for name in own)


def test_a_landscapes_middle_is_the_trained_network(study, gathered, ledger):
    spec = next(p for p in gathered.probes if isinstance(p, Landscape))
    result, found = ledger.result(spec), arrays(ledger, spec, "surfaces.npz")
    for view in ("clean", "attacked"):
        assert found[f"random_{view}"].shape == found[f"path_{view}"].shape == (5, 5)
        assert found[f"random_{view}"][2, 2] == result["flatness"][view]["loss"]
        assert np.isfinite(found[f"path_{view}"]).all()
    assert result["flatness"]["attacked"]["loss"] > result["flatness"]["clean"]["loss"]
    assert found["path"].shape == (4, 2)
    assert found["path_x"][0] < found["path"][:, 0].min()
    assert found["path_y"][-1] > found["path"][:, 1].max()


def test_attacks_made_at_each_point_are_stronger_there(gathered, ledger):
    spec = next(p for p in gathered.probes if isinstance(p, Landscape))
    assert spec.reattack == 2
    anew = arrays(ledger, spec, "surfaces.npz")
    once, files = landscape.survey(spec.model_copy(update={"reattack": 0}), ledger)
    with np.load(io.BytesIO(files["surfaces.npz"])) as fixed:
        assert np.array_equal(fixed["random_clean"], anew["random_clean"])
        higher = anew["random_attacked"] > fixed["random_attacked"]
    assert higher.mean() > 0.8
    assert once["flatness"]["clean"] == ledger.result(spec)["flatness"]["clean"]


def test_calibration_counts_the_stored_accuracy(gathered, ledger):
    for spec in gathered.probes:
        if not isinstance(spec, Calibration):
            continue
        found, images = ledger.result(spec), arrays(ledger, spec, "images.npz")
        stored = ledger.result(spec.network.transfer)["test"]
        assert found["clean"]["accuracy"] == pytest.approx(stored["sa"])
        assert (images["clean_prediction"] == images["label"]).mean() == pytest.approx(stored["sa"])
        assert found["attacked"]["accuracy"] <= stored["sa"] + 0.02


def test_attacks_agree_with_the_stored_records(study, gathered, ledger):
    specs = [p for p in gathered.probes if isinstance(p, AttackEvidence)]
    assert specs
    names = {c.key: c for c in grid.transfers(study)}
    for spec in specs:
        ra = ledger.result(spec)["ra"]
        stored = ledger.result(spec.network.transfer)["test"]
        assert (ra["clean"], ra["white_box"]) == (stored["sa"], stored["ra"])
        own, other = (names[key(n.transfer)] for n in (spec.network, spec.surrogate))
        assert other.ticket_cell.pretraining != own.ticket_cell.pretraining
        assert (other.ticket_cell.level, other.regime) == (0, "adversarial")


def test_levels_and_everything_choose_transfers(study, ledger):
    def chosen(wish):
        planned = plan.plan(worklist(study, ledger), wish)
        return {key(p.network.transfer) for p in planned.probes if isinstance(p, Calibration)}

    done = {c.key for c in grid.transfers(study)[:-1]}
    assert chosen(Wish(everything=True)) == done
    third = {c.key for c in cells(study, level=3, seed=0)}
    assert chosen(Wish(levels=frozenset({3}))) == third
    default = chosen(WISH)
    assert default >= {c.key for c in cells(study, level=0, seed=0)}
    assert not default & {c.key for c in cells(study, seed=1)}


def test_an_unfinished_study_asks_for_nothing(study, tmp_path):
    assert plan.plan(worklist(study, open_ledger(tmp_path)), WISH).pieces == []


def test_records_carry_the_studys_names(study, gathered, ledger):
    tables = records.collect(worklist(study, ledger)).tables
    assert set(tables) == set(records.TABLES)
    similar = tables["similarity"]
    assert [(r["first_theta"], r["second_theta"]) for r in similar] == [
        ("standard", "adversarial")
    ] * 3
    for row in similar:
        d = 0.8 ** row["first_level"]
        assert row["by_chance"] == pytest.approx(d / (2 - d), rel=1e-2)
        assert row["similarity"] > row["by_chance"]
    assert len(tables["structure"]) == 6
    assert len(tables["classes"]) == len(grid.transfers(study)) - 1
    classes = tables["classes"][0]
    right = sum(n * (a or 0) for n, a in zip(classes["images"], classes["sa"], strict=True))
    stored = ledger.result(grid.transfers(study)[0].transfer)["test"]["sa"]
    assert right / sum(classes["images"]) == pytest.approx(stored)
    first = grid.transfers(study)[0]
    for name in ("networks", "calibration", "landscape", "attacks"):
        assert all({*first.labels, "key", "reproduced"} <= set(row) for row in tables[name])


def test_flags_carry_the_studys_names(study, gathered, ledger, monkeypatch):
    before = records.collect(worklist(study, ledger)).tables
    flagged = {row["key"] for row in before["flags"]}
    assert flagged <= {row["key"] for row in before["attacks"]}
    # Stricter than any network can be: the decision is taken from stored numbers, as they are read.
    monkeypatch.setattr(gradient_masking, "ZERO_GRADIENTS", -1.0)
    tables = records.collect(worklist(study, ledger)).tables
    rows = [row for row in tables["flags"] if row["flag"] == "zero_gradients"]
    assert [row["key"] for row in rows] == [row["key"] for row in tables["attacks"]]
    assert rows[0]["regime"] == "adversarial" and "zero input gradient" in rows[0]["rule"]


def test_pairs_are_written_once(study, gathered, ledger):
    rows = records.collect(worklist(study, ledger)).tables["agreement"]
    pairs = [(row["first_key"], row["second_key"]) for row in rows]
    assert len(set(pairs)) == len(pairs) == len({frozenset(pair) for pair in pairs})


def test_files_hold_what_the_records_name(study, gathered, ledger):
    found = records.collect(worklist(study, ledger))
    written = records.files(found, ["one reason"], 2)
    index = json.loads(written["index.json"])
    assert (index["skipped"], index["missing"], index["format"]) == (["one reason"], 2, 1)
    for name, count in index["records"].items():
        assert len(json.loads(written[f"{name}.json"])) == count
    for table in records.FOLDERS:
        for row in found.tables[table]:
            content = written[row["file"].removeprefix("evidence/")]
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                assert file.files
    heat = np.load(io.BytesIO(written[f"kernels/{found.tables['structure'][0]['key']}.npz"]))
    assert sum(heat[n].sum() for n in heat.files) == found.tables["structure"][0]["kept"]


def test_evidence_on_another_study_is_left_out(study, gathered, ledger):
    content = study.model_dump(mode="json", exclude_none=True)
    content["downstream"][0]["levels"] = [0]
    smaller = studies.validate(content, "smaller")
    tables = records.collect(worklist(smaller, ledger)).tables
    assert {row["level"] for row in tables["networks"]} == {0}
    assert len(tables["similarity"]) == 3


@pytest.mark.parametrize("change", [("points", 5, 7), ("kind", "landscape", "ancient")])
def test_evidence_of_another_version_is_passed_over(study, gathered, ledger, change):
    """Settings that have come since change what an old spec means, so its key no longer fits."""
    before = records.collect(worklist(study, ledger)).tables
    spec = next(p for p in gathered.probes if isinstance(p, Landscape))
    place, (name, old, new) = ledger.folder(spec) / "spec.json", change
    text = place.read_text()
    assert json.loads(text)[name] == old
    place.write_text(json.dumps({**json.loads(text), name: new}))
    after = records.collect(worklist(study, ledger)).tables
    place.write_text(text)
    assert len(after["landscape"]) == len(before["landscape"]) - 1
    assert after["calibration"] == before["calibration"]


def test_gathering_again_writes_nothing(gathered, ledger):
    spec = gathered.pieces[0]
    before = (ledger.folder(spec) / "result.json").stat().st_mtime_ns
    gather.gather(spec.model_dump_json(), str(ledger.root))
    assert (ledger.folder(spec) / "result.json").stat().st_mtime_ns == before


def test_evidence_is_keyed_by_content(study, ledger):
    planned = plan.plan(worklist(study, ledger), WISH)
    assert len({key(piece) for piece in planned.pieces}) == len(planned.pieces)
    for piece in planned.pieces:
        assert from_json(piece.model_dump_json(exclude_none=True)) == piece
    one = next(p for p in planned.probes if isinstance(p, Landscape))
    finer = one.model_copy(update={"points": 25})
    assert key(finer) != key(one) and key(finer.network) == key(one.network)
    assert isinstance(planned.first[0], MaskEvidence)
    assert any(isinstance(p, RecordEvidence) for p in planned.first)
