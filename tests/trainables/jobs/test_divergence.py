"""A loss or a weight that is no number ends that training alone; its last good state is kept."""

import math
from dataclasses import replace

import pytest
import torch

from search_spaces import grid
from search_spaces.finished.evidence import Calibration, Landscape, Retraining
from search_spaces.reading import studies
from search_spaces.regimes import Recipe, Regime
from trainables.evidence import gather
from trainables.jobs import theta as thetas
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.pruning import masks
from trainables.store.checkpoints import TrainingCheckpoint
from trainables.store.ledger import open_ledger
from trainables.store.tensors import read
from trainables.training.loop import fit, snapshot
from trainables.training.ranks import Shard

YAML = """
name: tiny
source:
  dataset: {name: digits, size: 8, limit: 96}
  model: {arch: resnet8, width: 4}
  pretrainings: {standard: {train: {recipe: &theta {epochs: 4, batch_size: 32, lr: 0.05}}}}
pruning:
  wild: {method: imp, rounds: 3, retraining: {recipe: &wild {epochs: 2, batch_size: 32, lr: 1e30}}}
  imp: {method: imp, rounds: 2, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
downstream:
  - dataset: {name: mnist-mini, size: 8, limit: 96}
    levels: [0]
    seeds: [0]
    regimes:
      standard: {recipe: {epochs: 4, batch_size: 16, lr: 0.05}}
      adversarial:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 4, batch_size: 16, lr: 0.05}
evaluation: {attack: {kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}}
"""


@pytest.fixture
def study():
    return studies.validate(studies.parse(YAML, "tiny"), "tiny")


@pytest.fixture
def worker(tmp_path):
    return Worker(open_ledger(tmp_path), Shard(), torch.device("cpu"))


def failing_from(monkeypatch, module, epoch):
    """Trainings of a module are poisoned as this epoch begins, in their weights."""
    real = module.fit

    def poisoned(model, *args, **more):
        for found in real(model, *args, **more):
            yield found
            if found.number == epoch - 1:
                with torch.no_grad():
                    next(model.parameters()).fill_(math.nan)

    def at_once(model, *args, **more):
        with torch.no_grad():
            next(model.parameters()).fill_(math.nan)
        yield from real(model, *args, **more)

    monkeypatch.setattr(module, "fit", at_once if epoch == 1 else poisoned)


def theta_of(study, worker):
    theta = grid.thetas(study)[0].theta
    list(run_chain(Chain(theta=theta, plans=()), worker))
    return theta


def transfers(study, regime):
    return next(c.transfer for c in grid.transfers(study) if c.regime == regime)


def run(spec, worker):
    task = transfer.prepare(spec, worker.ledger, worker.device)
    epochs = list(transfer.run(task, worker.ledger))
    return task, epochs, worker.ledger.result(spec)


def finite(state):
    return all(value.isfinite().all() for value in state.values())


def test_weights_that_burst_in_the_last_step_are_not_an_epoch(net, stripes, evaluation):
    """The losses of such an epoch are all finite; its state would be kept as the best."""
    recipe = Recipe(epochs=2, batch_size=64, lr=1e10, momentum=0, weight_decay=1e30)
    one_step = Regime(recipe=recipe)
    epochs = fit(net, stripes, one_step, 0, evaluation)
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 1 \(training loss [\d.]+\)"):
        list(epochs)
    assert not finite(snapshot(net))


@pytest.mark.parametrize("regime", ["standard", "adversarial"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_transfer_ends_as_diverged_with_its_best_state(study, worker, monkeypatch, regime, epoch):
    theta_of(study, worker)
    spec = transfers(study, regime)
    shorter = spec.regime.recipe.model_copy(update={"epochs": max(1, epoch - 1)})
    other = spec.model_copy(update={"regime": spec.regime.model_copy(update={"recipe": shorter})})
    _, _, undisturbed = run(other, worker)
    failing_from(monkeypatch, transfer, epoch)
    task, epochs, result = run(spec, worker)
    assert result["state"] == "diverged" and epochs[-1]["ends"] is True
    assert result["reason"] == f"diverged in epoch {epoch} (training loss nan)"
    assert finite(task.net.state_dict())
    assert len(result["epochs"]) == epoch - 1
    assert not worker.ledger.unfinished(spec).exists()
    if epoch > 1:
        assert result["best_epoch"] == undisturbed["best_epoch"]
        for name in ("test", "val"):
            assert result[name] == undisturbed[name]
        return
    # Nothing was validated: the ticket as training found it.
    fresh = transfer.prepare(spec, worker.ledger, worker.device)
    state = fresh.net.state_dict()
    assert result["best_epoch"] == 0
    assert all(torch.equal(value, state[name]) for name, value in task.net.state_dict().items())


def test_what_diverges_after_an_interruption_has_its_earlier_best(study, worker, monkeypatch):
    theta_of(study, worker)
    spec = transfers(study, "standard")
    monkeypatch.setattr(
        transfer, "TrainingCheckpoint", lambda path: TrainingCheckpoint(path, seconds=0)
    )
    task = transfer.prepare(spec, worker.ledger, worker.device)
    epochs = transfer.run(task, worker.ledger)
    seen = [next(epochs) for _ in range(3)]
    epochs.close()
    assert TrainingCheckpoint(worker.ledger.unfinished(spec)).load()[0].epoch == 2
    real = transfer.fit

    def poisoned(model, data, *args, **more):
        images = replace(data.train, x=data.train.x, y=data.train.y)
        for found in real(model, replace(data, train=images), *args, **more):
            raise FloatingPointError(f"diverged in epoch {found.number} (training loss inf)")
        yield

    monkeypatch.setattr(transfer, "fit", poisoned)
    _, ends, result = run(spec, worker)
    assert result["state"] == "diverged" and ends == [{**result["epochs"][-1], "ends": True}]
    assert [e["loss"] for e in result["epochs"]] == [e["loss"] for e in seen[:2]]
    assert result["best_epoch"] in (1, 2)


@pytest.mark.parametrize("epoch", [1, 3])
def test_evidence_trains_what_diverged_again(study, worker, monkeypatch, epoch):
    theta_of(study, worker)
    spec = transfers(study, "standard")
    failing_from(monkeypatch, transfer, epoch)
    run(spec, worker)
    network = Retraining(transfer=spec)
    flat = Landscape(network=network, points=3, images=8, reattack=0)
    for piece in (network, flat, Calibration(network=network)):
        gather.gather(piece.model_dump_json(), str(worker.ledger.root))
        assert worker.ledger.result(piece)["state"] == "complete"
    assert worker.ledger.result(network)["reproduced"] is True


def test_a_theta_that_diverges_counts_by_its_best_state(study, worker, monkeypatch):
    theta = grid.thetas(study)[0].theta
    plans = (study.pruning["imp"],)
    real = thetas.fit
    failing_from(monkeypatch, thetas, 3)
    steps = run_chain(Chain(theta=theta, plans=plans), worker)
    assert next(steps) == theta
    monkeypatch.setattr(thetas, "fit", real)
    assert [ticket.level for ticket in steps] == [1, 2]
    result = worker.ledger.result(theta)
    assert result["state"] == "diverged" and result["best_epoch"] in (1, 2)
    assert result["reason"] == "diverged in epoch 3 (training loss nan)"
    weights = read(worker.ledger.file(theta, "weights.safetensors"))
    assert finite(weights)
    _, _, after = run(transfers(study, "standard"), worker)
    assert after["state"] == "complete"


def test_a_theta_without_any_good_state_is_named(study, worker, monkeypatch):
    theta = grid.thetas(study)[0].theta
    failing_from(monkeypatch, thetas, 1)
    with pytest.raises(FloatingPointError) as caught:
        list(run_chain(Chain(theta=theta, plans=(study.pruning["imp"],)), worker))
    assert str(caught.value) == (
        "pre-training diverged in epoch 1 (training loss nan), before its first validation: "
        "lower lr; no ticket starts from it"
    )
    assert not worker.ledger.has(theta)


def test_a_round_that_diverges_ends_its_pruning_alone(study, worker):
    theta = grid.thetas(study)[0].theta
    found = []
    steps = run_chain(Chain(theta=theta, plans=tuple(study.pruning.values())), worker)
    with pytest.raises(FloatingPointError) as caught:
        found.extend(steps)
    # Level 1 prunes theta itself; the re-training behind level 2 bursts, and imp goes on.
    wild, imp = (study.pruning[name].pruning for name in ("wild", "imp"))
    assert [(t.pruning, t.level) for t in found[1:]] == [(wild, 1), (imp, 1), (imp, 2)]
    assert "imp, re-training of level 1 diverged in epoch 1 (training loss" in str(caught.value)
    assert str(caught.value).endswith("lower its lr; there is no ticket from level 2 on")
    for ticket in found[1:]:
        kept, total = masks.counts(read(worker.ledger.file(ticket, "mask.safetensors")))
        assert kept == round(total * 0.8**ticket.level)
