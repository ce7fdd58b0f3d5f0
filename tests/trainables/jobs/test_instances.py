"""Transfers to instance segmentation: a chain, its transfers, masks, resuming, the attack."""

from functools import partial

import pytest
import torch

from search_spaces import grid
from search_spaces.finished.weights import weights
from search_spaces.reading import studies
from search_spaces.regimes import Attack, Regime
from search_spaces.spec import Dataset
from tests.support.squares import YAML, zipped
from trainables.data.datasets import splits
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.outcome import outcomes
from trainables.jobs.theta import Worker
from trainables.models.anatomy import anatomy
from trainables.pruning.masks import factors
from trainables.runtime.seeding import generator
from trainables.store.ledger import open_ledger
from trainables.store.tensors import read
from trainables.training.loop import snapshot
from trainables.training.ranks import Shard
from trainables.training.step import train_step
from trainables.training.tasks.instances import INSTANCES, attacked, evaluate
from tuner.storage.inputs import resolve

CPU = torch.device("cpu")
PGD = Attack(kind="pgd", steps=3, epsilon=0.1, alpha=0.05)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """(transfers of the study, the ledger that has their tickets)."""
    folder = tmp_path_factory.mktemp("instances")
    zipped(folder / "squares.zip", 8)
    study = resolve(studies.validate(studies.parse(YAML, "tiny"), "tiny"), folder)
    ledger = open_ledger(folder / "results")
    theta = grid.thetas(study)[0]
    chain = Chain(theta=theta.theta, plans=study.plans(theta.pretraining, 0))
    list(run_chain(chain, Worker(ledger, Shard(), CPU)))
    return grid.transfers(study), ledger


def chosen(cells, regime, level):
    (cell,) = (c for c in cells if c.regime == regime and c.ticket_cell.level == level)
    return cell.transfer


@pytest.fixture
def data(tmp_path):
    path = zipped(tmp_path / "squares.zip", 6)
    return splits(Dataset(name="masks", size=32, path=str(path)))


@pytest.fixture
def net(cells, data):
    return transfer.prepare(chosen(cells[0], "standard", 0), cells[1], CPU).net


def test_a_ticket_is_transferred_under_both_regimes(cells):
    transfers, ledger = cells
    for regime in ("standard", "adversarial"):
        spec = chosen(transfers, regime, 4)
        task = transfer.prepare(spec, ledger, CPU)
        records = list(transfer.run(task, ledger))
        result = ledger.result(spec)
        assert [record["ends"] for record in records] == [False, True]
        assert result["state"] == "complete" and result["chance"] == 0.0
        assert 0 <= result["test"]["sa"] <= 1 and 0 <= result["test"]["ra"] <= 1
        assert ledger.correct(spec) is None and len(task.data.train) == 2
        mask = read(ledger.file(spec.ticket, "mask.safetensors"))
        assert mask.keys() == set(anatomy(task.net).prunable)
        state = task.net.state_dict()
        assert all((state[name][~kept] == 0).all() for name, kept in mask.items())
        again, _ = transfer.judge(transfer.prepare(spec, ledger, CPU), ledger)
        assert ledger.has(weights(spec)) and again["test"] == result["test"]


def test_the_body_is_the_tickets_and_the_rest_is_the_seeds(cells):
    transfers, ledger = cells
    spec = chosen(transfers, "standard", 4)
    one, other = (transfer.prepare(spec, ledger, CPU).net.state_dict() for _ in range(2))
    third = transfer.prepare(spec.model_copy(update={"seed": 1}), ledger, CPU).net.state_dict()
    theta = read(ledger.file(spec.ticket.theta, "weights.safetensors"))
    mask = read(ledger.file(spec.ticket, "mask.safetensors"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    body = {name for name in theta if not name.startswith("fc.")}
    assert body < set(one)
    assert all(torch.equal(one[name], third[name]) for name in body)
    assert all(torch.equal(one[name], theta[name] * mask.get(name, 1)) for name in body)
    new = "roi_heads.box_head.fc6.weight"
    assert not torch.equal(one[new], third[new])


def test_what_was_interrupted_ends_in_the_same_bits(cells):
    transfers, ledger = cells
    spec = chosen(transfers, "adversarial", 4)
    whole, part, rest = (transfer.prepare(spec, ledger, CPU) for _ in range(3))
    for _ in outcomes(partial(transfer.train, whole), spec.regime):
        pass
    progress = next(transfer.train(part)).progress()
    list(transfer.train(rest, progress))
    left, right = snapshot(whole.net), snapshot(rest.net)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_an_attack_raises_the_loss_and_stays_in_its_ball(net, data):
    x, y = data.train[:2].pixels(), data.train.y[:2]
    before = snapshot(net)
    found = attacked(net, x, y, PGD, generator(0, "start"))
    assert found.min() >= 0 and found.max() <= 1
    assert (found - x).abs().max() <= PGD.epsilon + 1e-6

    def loss(images):
        torch.manual_seed(0)  # The same proposals.
        with torch.no_grad():
            return INSTANCES.loss(net, x, images, y, None)[0].item()

    assert loss(found) > loss(x)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_what_was_learnt_by_heart_is_found(net, data):
    recipe = {"epochs": 1, "lr": 0.003, "optimizer": "adamw"}
    regime = Regime.model_validate({"recipe": recipe})
    optimizer = torch.optim.AdamW(net.parameters(), 0.003)
    x, y = data.train[:2].pixels(), data.train.y[:2]
    torch.manual_seed(0)
    net.train()
    for _ in range(40):
        train_step(
            net, optimizer, factors(net, {}), x, y, regime, generator(0, "x"), task=INSTANCES
        )
    results = evaluate(net, data.train[:2], PGD)
    assert results.clean > 0.2 and results.attacked < results.clean
    assert results == evaluate(net, data.train[:2], PGD)
    assert not results.records
