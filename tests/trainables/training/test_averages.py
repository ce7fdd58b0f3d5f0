"""Averages of weights against torch's own, and what a training makes of them."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch.optim.swa_utils import AveragedModel, get_swa_multi_avg_fn, update_bn

from search_spaces.regimes import Ema, Recipe, Regime, Swa
from trainables.pruning import masks
from trainables.runtime.seeding import generator
from trainables.training.evaluation import evaluate
from trainables.training.loop import fit, snapshot
from trainables.training.recipes.averages import Average, renew_statistics

EMA = Ema(kind="ema", decay=0.9)
SWA = Swa(kind="swa", start=2)


def regime(averaging=None, epochs=4, **more):
    recipe = Recipe(epochs=epochs, lr=0.05, batch_size=16, averaging=averaging, **more)
    return Regime(recipe=recipe)


def wander(net, steps):
    """The network after each of some random steps."""
    rng = generator(0, "wander")
    for _ in range(steps):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=0.1)
        yield


def test_ema_is_torchs_with_the_same_decay(net):
    decays = [min(0.9, (1 + t) / (10 + t)) for t in range(120)]
    theirs = AveragedModel(
        net,
        avg_fn=lambda average, weight, _: decay * average + (1 - decay) * weight,
    )
    theirs.n_averaged.fill_(1)  # Its first call would copy; ours averages from the start.
    ours = Average(net, EMA)
    for step, _ in enumerate(wander(net, 120)):
        decay = decays[step]
        theirs.update_parameters(net)
        ours.after_step(net, step)
    assert decays[0] == 0.1 and decays[-1] == 0.9
    for own, other in zip(ours.weights, theirs.module.parameters(), strict=True):
        torch.testing.assert_close(own, other.detach(), rtol=1e-5, atol=1e-6)


def test_swa_is_torchs_from_its_start(net):
    theirs = AveragedModel(net, multi_avg_fn=get_swa_multi_avg_fn())
    ours = Average(net, SWA)
    for number, _ in enumerate(wander(net, 5), 1):
        ours.after_epoch(net, number)
        if number >= 2:
            theirs.update_parameters(net)
    for own, other in zip(ours.weights, theirs.module.parameters(), strict=True):
        torch.testing.assert_close(own, other.detach(), rtol=1e-5, atol=1e-6)


def test_statistics_are_torchs(net, stripes):
    theirs = copy.deepcopy(net)
    loader = [images.pixels() for images in stripes.train.stream(torch.arange(64).split(256), None)]
    update_bn(loader, theirs)
    renew_statistics(net.eval(), stripes.train)
    for (name, own), other in zip(
        net.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other), name
    assert not net.training


@pytest.mark.parametrize("how", [EMA, SWA])
def test_what_counts_is_the_average_with_statistics_of_its_own(net, stripes, evaluation, how):
    """Followed beside a plain training of the same seed, whose weights are averaged by hand."""
    plain, model = copy.deepcopy(net), copy.deepcopy(net)
    average = Average(plain, how)
    for epoch in fit(plain, stripes, regime(), 0):
        average.after_epoch(plain, epoch.number)
    *_, last = fit(model, stripes, regime(how), 0, evaluation)
    statistics = copy.deepcopy(model)
    renew_statistics(statistics, stripes.train)
    for name, value in model.state_dict().items():
        assert torch.equal(value, statistics.state_dict()[name])
    if how is SWA:
        for own, parameter in zip(average.weights, model.parameters(), strict=True):
            torch.testing.assert_close(own, parameter.detach(), rtol=1e-5, atol=1e-6)
    assert any(
        not torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True)
    )
    assert last.val.sa == evaluate(model, stripes.val, None).scores.sa
    # The average trains nothing: the loss of every epoch is that of the plain training.
    assert last.loss == [e.loss for e in fit(copy.deepcopy(net), stripes, regime(), 0)][-1]


@pytest.mark.parametrize("how", [EMA, SWA])
def test_a_masked_average_is_masked(net, stripes, how):
    mask = masks.random(masks.ones(net), 150, generator(0, "mask"))
    list(fit(net, stripes, regime(how), 0, mask=mask))
    state = snapshot(net)
    assert not any(state[name][~kept].any() for name, kept in mask.items())


@pytest.mark.parametrize("how", [EMA, SWA, None])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_goes_on_as_if_it_had_never_stopped(net, stripes, tmp_path, how, optimizer):
    from trainables.store.checkpoints import TrainingCheckpoint

    wanted = regime(how, optimizer=optimizer)
    whole, parted, resumed = (copy.deepcopy(net) for _ in range(3))
    list(fit(whole, stripes, wanted, 0))
    started = fit(parted, stripes, wanted, 0)
    next(started)
    kept = TrainingCheckpoint(tmp_path / "a.progress")
    kept.save(next(started).progress(), [])
    progress, _ = kept.load()
    list(fit(resumed, stripes, wanted, 0, resume=progress))
    for name, value in snapshot(whole).items():
        assert torch.equal(value, snapshot(resumed)[name]), name


def test_an_average_that_never_begins_is_refused():
    with pytest.raises(ValidationError, match="beyond the last epoch"):
        regime(Swa(kind="swa", start=5))
