"""A chain and its transfers without Ray: what is stored, and that it resumes to the same bits."""

from functools import partial

import pytest
import torch
import yaml

from search_spaces import grid
from search_spaces.reading import studies
from search_spaces.study import Downstream
from trainables.jobs import transfer, transfer_trial
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.outcome import outcome
from trainables.jobs.theta import Worker
from trainables.judging import checks
from trainables.models import networks
from trainables.pruning import masks
from trainables.store.ledger import open_ledger
from trainables.store.tensors import read
from trainables.training.ranks import Shard

YAML = """
name: tiny
source:
  dataset: {name: digits, size: 8, limit: 96}
  model: {arch: resnet8, width: 4}
  pretrainings: {standard: {train: {recipe: {epochs: 2, batch_size: 32, lr: 0.05}}}}
pruning:
  imp: {method: imp, rounds: 4, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
  random: {method: random, levels: [2]}
  omp: {method: one_shot, levels: [2]}
downstream:
  - dataset: {name: mnist-mini, size: 8, limit: 96, augment: {crop: 1}}
    fractions: [0.5]
    levels: [0, 2, 4]
    seeds: [0]
    regimes:
      standard: {recipe: {epochs: 2, batch_size: 16, lr: 0.05}}
      adversarial:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 2, batch_size: 16, lr: 0.05}
evaluation: {attack: {kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}}
"""


@pytest.fixture
def study():
    return studies.validate(studies.parse(YAML, "tiny"), "tiny")


def chain_of(study):
    theta = grid.thetas(study)[0]
    return Chain(theta=theta.theta, plans=study.plans(theta.pretraining, theta.theta.seed))


def worker(path):
    return Worker(open_ledger(path), Shard(), torch.device("cpu"))


@pytest.fixture
def done(study, tmp_path):
    """A finished chain's worker."""
    at = worker(tmp_path / "whole")
    list(run_chain(chain_of(study), at))
    return at


def masks_of(study, ledger):
    return {
        (c.pruning, c.level): read(ledger.folder(c.ticket) / "mask.safetensors")
        for c in grid.tickets(study)
    }


def test_tickets_have_exact_density_and_start_from_theta(study, done):
    theta = read(done.ledger.folder(chain_of(study).theta) / "weights.safetensors")
    for (_, level), mask in masks_of(study, done.ledger).items():
        kept, total = masks.counts(mask)
        assert kept == round(total * 0.8**level)
        assert set(mask) == {name for name, value in theta.items() if value.ndim == 4}


def test_results_record_the_sparsity_reached(study, done):
    for cell in grid.tickets(study):
        result = done.ledger.result(cell.ticket)
        assert result["kept"] == round(result["total"] * 0.8**cell.level)
        assert result["sparsity"] == 1 - result["kept"] / result["total"]
        assert set(result["layers"]) == set(masks_of(study, done.ledger)[cell.pruning, cell.level])


def test_a_second_run_computes_nothing(study, done):
    assert list(run_chain(chain_of(study), done)) == []


def test_an_interrupted_chain_resumes_to_the_same_bits(study, done, tmp_path):
    other = worker(tmp_path / "interrupted")
    steps = run_chain(chain_of(study), other)
    for _ in range(3):
        next(steps)
    steps.close()
    assert len(list(run_chain(chain_of(study), other))) == len(chain_of(study).results) - 3
    expected, resumed = masks_of(study, done.ledger), masks_of(study, other.ledger)
    assert expected.keys() == resumed.keys()
    for name, mask in expected.items():
        assert all(torch.equal(mask[n], resumed[name][n]) for n in mask)


def test_more_rounds_extend_a_finished_chain(study, done):
    longer = studies.validate(
        {**studies.parse(YAML.replace("rounds: 4", "rounds: 6"), "tiny")}, "tiny"
    )
    found = list(run_chain(chain_of(longer), done))
    assert [ticket.level for ticket in found] == [5, 6]


def run(cell, ledger):
    task = transfer.prepare(cell.transfer, ledger, torch.device("cpu"))
    reached = outcome(partial(transfer.train, task), cell.transfer.regime)
    result, files = transfer.conclude(task, reached, ledger)
    return task, result, files


def test_a_transfer_starts_from_its_ticket(study, done):
    theta = read(done.ledger.folder(chain_of(study).theta) / "weights.safetensors")
    cell = next(c for c in grid.transfers(study) if c.ticket_cell.pruning == "imp")
    task = transfer.prepare(cell.transfer, done.ledger, torch.device("cpu"))
    mask = masks_of(study, done.ledger)["imp", cell.ticket_cell.level]
    for name, value in task.net.state_dict().items():
        if name in mask:
            assert torch.equal(value, theta[name] * mask[name])
        elif not name.startswith("fc."):
            assert torch.equal(value, theta[name])
    assert len(task.data.train) == 48


def test_transfers_of_other_seeds_start_from_other_random_masks(study, done):
    both = studies.validate(studies.parse(YAML.replace("[0]", "[0, 1]"), "tiny"), "tiny")
    assert len(list(run_chain(chain_of(both), done))) == 1  # The mask of seed 1 is all that lacks.
    tasks = {
        cell.transfer.seed: transfer.prepare(cell.transfer, done.ledger, torch.device("cpu"))
        for cell in grid.transfers(both)
        if (cell.ticket_cell.pruning, cell.regime) == ("random", "standard")
    }
    first, second = (tasks[seed].mask for seed in (0, 1))
    assert masks.counts(first) == masks.counts(second)
    assert all(
        torch.equal(value, masks_of(study, done.ledger)["random", 2][name])
        for name, value in first.items()
    )
    assert sum(int((value != second[name]).sum()) for name, value in first.items()) > 0
    for task in tasks.values():
        weights = task.net.state_dict()
        assert all(not weights[name][~mask].any() for name, mask in task.mask.items())


def test_transfers_are_the_same_in_any_order(study, done):
    cells = grid.transfers(study)
    first = {c.key: run(c, done.ledger) for c in cells}
    second = {c.key: run(c, done.ledger) for c in reversed(cells)}
    for cell in cells:
        _, result, files = first[cell.key]
        _, again, same_files = second[cell.key]
        assert result["test"] == again["test"] and result["last"] == again["last"]
        assert [e["loss"] for e in result["epochs"]] == [e["loss"] for e in again["epochs"]]
        assert files == same_files


def test_a_transfer_keeps_its_mask_and_records_each_image(study, done):
    cell = next(c for c in grid.transfers(study) if c.ticket_cell.level == 4)
    task, result, files = run(cell, done.ledger)
    state = task.net.state_dict()
    assert all(not state[name][~m].any() for name, m in task.mask.items())
    from safetensors.torch import load

    bits = load(files["correct.safetensors"])
    assert bits["clean"].double().mean().item() == result["test"]["sa"]
    assert bits["attacked"].double().mean().item() == result["test"]["ra"]
    assert len(bits["clean"]) == 96
    assert result["chance"] == max(task.data.test.y.tolist().count(k) for k in range(10)) / 96


def test_a_trial_that_is_run_again_trains_no_finished_transfer(study, done, monkeypatch):
    """Its process may be killed between writing the result and saying so."""
    cell, reports = grid.transfers(study)[0], []
    monkeypatch.setattr(transfer_trial.tune, "report", reports.append)
    storage = str(done.ledger.root)
    config = {"transfer": cell.transfer.model_dump_json(), "storage": storage, "keep": True}
    transfer_trial.transfer_trial(config)
    folder = done.ledger.folder(cell.transfer)
    first = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(transfer_trial.transfer, "prepare", lambda *_: pytest.fail("trains"))
    transfer_trial.transfer_trial(config)
    assert {path: path.read_bytes() for path in folder.iterdir()} == first
    assert reports[-1] == reports[-2]
    assert [report["ends"] for report in reports] == [False, True, True]


SURROGATE = """
kind: transfer_attack
attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
model: {arch: resnet8, width: 2}
train:
  attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
  recipe: {epochs: 1, batch_size: 16, lr: 0.05}
"""


def test_a_transfer_is_checked_by_a_surrogate_that_the_study_trains(study, done):
    """The whole way: the surrogate is a chain of its own, and its weights make the images."""
    check = {"check": yaml.safe_load(SURROGATE), "only": {"levels": [0]}}
    (task,) = study.downstream
    task = Downstream.model_validate({**task.model_dump(), "checks": [check]})
    whole = grid.expand(study.model_copy(update={"downstream": (task,)}))
    (cell,) = (c for c in whole.transfers.values() if c.transfer.checks)
    (surrogate,) = cell.transfer.surrogates
    list(run_chain(Chain(theta=surrogate, plans=()), done))
    trained = transfer.prepare(cell.transfer, done.ledger, torch.device("cpu"))
    list(transfer.run(trained, done.ledger))
    (found,) = done.ledger.result(cell.transfer)["checks"]
    assert (found["kind"], found["images"]) == ("transfer_attack", 96)
    weights = read(done.ledger.file(surrogate, "weights.safetensors"))
    data = trained.data
    other = networks.build(surrogate.model, data.classes, data.mean, data.std, seed=3)
    other.load_state_dict(weights)
    check = cell.transfer.checks[0]
    right = checks.withstands_other(trained.net.eval(), other, data.test, check.attack)
    assert found["ra"] == right.double().mean().item()
