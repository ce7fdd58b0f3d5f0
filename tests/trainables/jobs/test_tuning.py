"""Trials of a search without Ray: the transfer's own training, and no test image."""

import json
from dataclasses import dataclass, replace
from statistics import fmean

import pytest
import torch

from search_spaces import grid, trials
from search_spaces.keys import key
from search_spaces.reading import studies
from search_spaces.trials import Trial
from trainables.data import datasets
from trainables.jobs import transfer, tuning
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import open_ledger
from trainables.training import loop
from trainables.training.overfitting import Signals
from trainables.training.ranks import Shard
from tuner.storage import state

YAML = """
name: tiny
source:
  dataset: {name: digits, size: 8, limit: 96}
  model: {arch: resnet8, width: 4}
  pretrainings: {standard: {train: {recipe: {epochs: 2, batch_size: 32, lr: 0.05}}}}
pruning:
  imp: {method: imp, rounds: 2, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
downstream:
  - dataset: {name: mnist-mini, size: 8, limit: 96, augment: {crop: 1}}
    levels: [0, 2]
    seeds: [0, 1]
    regimes:
      adversarial:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 3, batch_size: 16, lr: 0.05}
      fast_adversarial:
        attack: {kind: fgsm, epsilon: 0.5, alpha: 1.0}
        containment: {fall: 0.001, gap: 0.001, patience: 1, probe_images: 10000}
        recipe: {epochs: 9, batch_size: 16, lr: 0.2}
evaluation:
  attack: {kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}
search:
  regime: adversarial
  pretraining: standard
  objectives: [ra]
  seeds: [0, 1]
  space: {recipe.lr: {log_uniform: [0.01, 1.0e+8]}, recipe.epochs: {int: [1, 9]}}
"""
CPU = torch.device("cpu")


def read(**search):
    data = studies.parse(YAML, "tiny")
    data["search"] |= search
    return studies.validate(data, "tiny")


@pytest.fixture
def ledger(tmp_path):
    """A ledger with the dense network's theta."""
    at = open_ledger(tmp_path / "results")
    chain = Chain(theta=grid.thetas(read())[0].theta, plans=())
    list(run_chain(chain, Worker(at, Shard(), CPU)))
    return at


def last(spec, ledger):
    *_, result = tuning.run(spec, ledger, CPU)
    return result


def shipped(study, seeds=None):
    return trials.trial(study, trials.shipped_point(study), seeds)


def test_a_trial_trains_as_the_transfer_does(ledger):
    study = read()
    results = list(tuning.run(shipped(study), ledger, CPU))
    assert [r["state"] for r in results] == ["running", "running", "complete"]
    cells = [
        c for c in grid.transfers(study) if c.regime == "adversarial" and not c.ticket_cell.level
    ]
    histories = [list(transfer.train(transfer.prepare(c.transfer, ledger, CPU))) for c in cells]
    assert len(histories) == 2
    for number, epochs in enumerate(zip(*histories, strict=True)):
        record = results[-1]["epochs"][number]
        assert record["loss"] == fmean(e.loss for e in epochs)
        assert record["val"]["ra"] == fmean(e.val.ra for e in epochs)
        best = [e.best.scores for e in epochs]
        assert results[number]["best"] == {
            "sa": fmean(s.sa for s in best),
            "ra": fmean(s.ra for s in best),
        }
    assert [s["seed"] for s in results[-1]["seeds"]] == [0, 1]


def test_a_trial_is_the_same_whenever_it_runs(ledger):
    spec = shipped(read())
    first, other = last(spec, ledger), last(shipped(read(), (4,)), ledger)
    torch.manual_seed(7)
    again = last(spec, ledger)
    assert again["seeds"] == first["seeds"]
    assert [e["loss"] for e in again["epochs"]] == [e["loss"] for e in first["epochs"]]
    assert other["epochs"] != first["epochs"]


@dataclass(frozen=True)
class Sealed:
    """Test images that must not be touched."""

    def __getattr__(self, name):
        raise AssertionError(f"test images were asked for {name}")

    def __len__(self):
        raise AssertionError("test images were counted")

    def __getitem__(self, index):
        raise AssertionError("test images were read")


@pytest.fixture
def sealed(monkeypatch):
    whole = datasets.splits_on

    def splits_on(*where):
        return replace(whole(*where), test=Sealed())

    monkeypatch.setattr(datasets, "splits_on", splits_on)


@pytest.mark.parametrize("regime", ["adversarial", "fast_adversarial"])
def test_no_test_image_is_ever_read(ledger, sealed, regime):
    result = last(shipped(read(regime=regime)), ledger)
    assert result["best"]["ra"] > 0
    assert "test" not in json.dumps(result)


def test_the_seal_notices_a_transfer(ledger, sealed):
    task = transfer.prepare(grid.transfers(read())[0].transfer, ledger, CPU)
    with pytest.raises(AssertionError, match="test images were"):
        list(transfer.run(task, ledger))


def test_a_fraction_of_the_data_is_drawn_from_each_seed(ledger, sealed):
    half, whole = read(fraction=0.5), read()
    assert len(transfer.prepare(shipped(half).transfers[0], ledger, CPU, False).data.train) == 48
    assert last(shipped(half), ledger)["best"] != last(shipped(whole), ledger)["best"]


def test_a_collapsed_trial_ends_and_keeps_its_best(ledger, monkeypatch):
    """The probe shows a fall after the second epoch, of both seeds."""
    pgds = iter([0.9] * 4 + [0.1] * 14)
    monkeypatch.setattr(loop, "probe", lambda *_, **__: Signals(0.9, next(pgds), 1.0))
    result = last(shipped(read(regime="fast_adversarial")), ledger)
    assert result["state"] == "co_stopped"
    assert len(result["epochs"]) == 3
    assert result["best"]["ra"] >= max(e["val"]["ra"] for e in result["epochs"])


def test_a_diverging_trial_says_so(ledger):
    study = read()
    spec = trials.trial(study, {"recipe.lr": 1e8, "recipe.epochs": 3})
    with pytest.raises(FloatingPointError, match="training loss nan"):
        last(spec, ledger)


def test_a_rates_ticket_is_made_once(ledger, sealed):
    space = {"pruning.rate": {"uniform": [0.1, 0.5]}}
    study = read(pruning="imp", level=2, space=space, seeds=[0])
    spec = trials.trial(study, {"pruning.rate": 0.4})
    assert spec.ticket.level == 1
    last(spec, ledger)
    record = ledger.result(spec.ticket)
    assert record["sparsity"] == pytest.approx(0.4, abs=1e-3)
    before = ledger.folder(spec.ticket).stat().st_mtime_ns
    last(spec, ledger)
    assert ledger.folder(spec.ticket).stat().st_mtime_ns == before


def test_the_mean_goes_field_by_field():
    records = [{"n": 1, "val": {"sa": 0.5}, "lr": 0.1}, {"n": 1, "val": {"sa": 1.0}, "lr": 0.1}]
    assert tuning.mean(records) == {"n": 1, "val": {"sa": 0.75}, "lr": 0.1}


def test_the_ledger_gives_trials_back_in_the_order_in_which_they_ended(ledger):
    study = read()
    for ended, lr in ((3.0, 0.1), (1.0, 0.2), (2.0, 0.05)):
        spec = trials.trial(study, {"recipe.lr": lr, "recipe.epochs": 2})
        ledger.write(spec, {"ended": ended, "best": {"ra": lr}}, {})
    ledger.write(shipped(study, (9,)), {"ended": 0.0}, {})
    found = state.trials(study, ledger)
    assert [f.point["recipe.lr"] for f in found] == [0.2, 0.05, 0.1]
    assert {key(spec) for spec in ledger.all(Trial)} > {key(f.trial) for f in found}
    assert len(list(ledger.all(Trial))) == 4


def test_specs_of_other_times_are_passed_over(ledger):
    study = read()
    ledger.write(shipped(study), {"ended": 1.0, "best": {}}, {})
    odd = ledger.root / "trials" / "0123456789abcdef"
    odd.mkdir()
    (odd / "spec.json").write_text('{"ticket": 3}')
    assert len(state.trials(study, ledger)) == 1
