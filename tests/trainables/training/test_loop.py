"""The loop: masks that hold, schedules, selection, reproducible to the bit, shards."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from search_spaces.regimes import (
    Attack,
    Constant,
    Containment,
    Cosine,
    Evaluation,
    MultiStep,
    OneCycle,
    Recipe,
    Regime,
)
from search_spaces.spec import Augmentation
from tests.conftest import striped
from trainables.models.resnets import ResNet
from trainables.pruning import masks
from trainables.runtime.seeding import generator
from trainables.training import loop, recorder
from trainables.training.loop import batches, fit
from trainables.training.loop import snapshot as weights
from trainables.training.overfitting import Signals
from trainables.training.ranks import Shard
from trainables.training.recipes.schedule import learning_rate

FGSM = Attack(kind="fgsm", epsilon=0.1, alpha=0.125)
PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=3)


def clone(net: ResNet) -> ResNet:
    import copy

    return copy.deepcopy(net)


def test_learns(net, stripes, evaluation):
    regime = Regime(recipe=Recipe(epochs=5, batch_size=16, lr=0.05))
    epochs = list(fit(net, stripes, regime, 0, evaluation))
    assert [e.number for e in epochs] == [1, 2, 3, 4, 5]
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[-1].val.sa > 0.9
    assert epochs[-1].val.ra is None


def test_adversarial_training_buys_robustness(net, stripes, evaluation):
    recipe = Recipe(epochs=8, batch_size=16, lr=0.05)
    from trainables.training.evaluation import evaluate

    scores = {}
    for name, attack in (("standard", None), ("adversarial", PGD)):
        model = clone(net)
        list(fit(model, stripes, Regime(recipe=recipe, attack=attack), 0))
        scores[name] = evaluate(model, stripes.test, evaluation.attack).scores.ra
    assert scores["adversarial"] > scores["standard"] + 0.1


@pytest.mark.parametrize("attack", [None, FGSM, PGD])
def test_zeros_survive_momentum_and_weight_decay(net, stripes, attack):
    mask = masks.random(masks.ones(net), 150, generator(0, "x"))
    recipe = Recipe(epochs=3, batch_size=16, lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in fit(net, stripes, Regime(recipe=recipe, attack=attack), 0, mask=mask):
        state = net.state_dict()
        assert not any(state[name][~m].any() for name, m in mask.items())
        assert sum(int((state[name] != 0).sum()) for name in mask) == 150


@pytest.mark.parametrize("attack", [None, FGSM, PGD])
def test_same_seed_same_bits(net, stripes, evaluation, recipe, attack):
    regime = Regime(recipe=recipe, attack=attack)

    def run(seed):
        model = clone(net)
        torch.manual_seed(99)
        how = Augmentation(crop=1, flip=True)
        epochs = list(fit(model, stripes, regime, seed, evaluation, augmentation=how))
        torch.rand(3)
        return weights(model), [(e.loss, e.val) for e in epochs]

    (first, curve), (second, same_curve), (other, _) = run(0), run(0), run(1)
    assert curve == same_curve
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not all(torch.equal(first[n], other[n]) for n in first)


def test_best_is_by_accuracy_under_attack_and_the_latest_of_equals(net, stripes, evaluation):
    recipe = Recipe(epochs=6, batch_size=16, lr=0.1)
    epochs = list(fit(net, stripes, Regime(recipe=recipe, attack=PGD), 0, evaluation))
    scores = [e.val.ra for e in epochs]
    best = epochs[-1].best
    assert best.scores.ra == max(scores)
    assert best.epoch == max(e.number for e in epochs if e.val.ra == max(scores))


def test_the_best_state_is_that_epochs(net, stripes, evaluation):
    recipe = Recipe(epochs=4, batch_size=16, lr=0.1)
    states = {}
    for epoch in fit(net, stripes, Regime(recipe=recipe), 0, evaluation):
        states[epoch.number] = weights(net)
    best = epoch.best
    assert all(torch.equal(best.state[n], states[best.epoch][n]) for n in best.state)


def test_validation_starts_where_the_recipe_says(net, stripes, evaluation):
    recipe = Recipe(epochs=4, batch_size=16, lr=0.1, validate_from=3)
    epochs = list(fit(net, stripes, Regime(recipe=recipe), 0, evaluation))
    assert [e.val is not None for e in epochs] == [False, False, True, True]
    late = Recipe(epochs=2, batch_size=16, lr=0.1, validate_from=9)
    epochs = list(fit(net, stripes, Regime(recipe=late), 0, evaluation))
    assert [e.val is not None for e in epochs] == [False, True]


def test_one_step_attacks_are_watched(net, stripes, evaluation, recipe):
    watched = Regime.model_validate({"recipe": recipe, "attack": FGSM.model_dump()})
    signals = [e.signals for e in fit(net, stripes, watched, 0, evaluation)]
    assert all(0 <= s.pgd <= 1 and 0 <= s.fgsm <= 1 for s in signals)
    assert watched.containment == Containment()
    assert [e.signals for e in fit(net, stripes, Regime(recipe=recipe), 0, evaluation)] == [
        None
    ] * 2


def test_watched_trainings_validate_every_epoch(net, stripes, evaluation):
    recipe = Recipe(epochs=3, batch_size=16, lr=0.05, validate_from=3)
    watched = Regime(recipe=recipe, attack=FGSM, containment=Containment(on_collapse="continue"))
    for regime, expected in ((watched, [True] * 3), (Regime(recipe=recipe), [False, False, True])):
        epochs = list(fit(net, stripes, regime, 0, evaluation))
        assert [e.val is not None for e in epochs] == expected


def nervous(on_collapse, epochs=4):
    """A one-step training with far too large a step, and a watch that any fall alarms that is no
    noise of its probe."""
    return Regime(
        recipe=Recipe(epochs=epochs, batch_size=16, lr=0.2),
        attack=Attack(kind="fgsm", epsilon=0.5, alpha=1.0),
        containment=Containment(
            on_collapse=on_collapse, fall=0.001, gap=0.001, patience=1, probe_images=10_000
        ),
    )


def scripted(monkeypatch, *pgds):
    """The probe shows these PGD accuracies, one an epoch, far below FGSM's."""
    shown = (Signals(fgsm=1.0, pgd=pgd, cosine=1.0) for pgd in pgds)
    monkeypatch.setattr(loop, "probe", lambda *_, **__: next(shown))


def states_at_the_start(monkeypatch, net):
    """Fills with the network's state at the start of each epoch."""
    found = {}

    def spied(images, recipe, seed, epoch, shard):
        found[epoch] = weights(net)
        return batches(images, recipe, seed, epoch, shard)

    monkeypatch.setattr(loop, "batches", spied)
    return found


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_collapse_halves_alpha(net, stripes, evaluation, monkeypatch):
    # Falls in epochs 2 and 5: what was before the first one is forgotten.
    scripted(monkeypatch, 0.9, 0.5, 0.1, 0.6, 0.1, 0.3)
    epochs = fit(net, stripes, nervous("lower_alpha", 6), 0, evaluation)
    assert [e.alpha for e in epochs] == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_a_collapse_goes_back_to_the_best_state(net, stripes, evaluation, monkeypatch):
    scripted(monkeypatch, 0.5, 0.9, 0.4, 0.4)
    ras = iter((0.1, 0.3, 0.2, 0.0))
    monkeypatch.setattr(loop, "validate", lambda *_: loop.Scores(sa=0.5, ra=next(ras)))
    starts, ends = states_at_the_start(monkeypatch, net), {}
    for epoch in fit(net, stripes, nervous("lower_alpha"), 0, evaluation):
        ends[epoch.number] = weights(net)
    assert epoch.best.epoch == 2
    assert same(starts[2], ends[1]) and same(starts[3], ends[2])
    assert same(starts[4], epoch.best.state) and same(starts[4], ends[2])
    assert not same(starts[4], ends[3])


def test_after_a_collapse_momentum_starts_anew(net, stripes, evaluation, monkeypatch):
    """A training that went back at once is a training that began there, with half the alpha."""
    scripted(monkeypatch, 0.9, 0.4, 0.9)
    ras = iter((0.3, 0.1, 0.5))
    monkeypatch.setattr(loop, "validate", lambda *_: loop.Scores(sa=0.5, ra=next(ras)))
    best = {}
    for epoch in fit(net, stripes, nervous("lower_alpha", 3), 0, evaluation):
        best.setdefault(1, epoch.best.state)
    regime = nervous("continue", 3)
    halved = regime.model_copy(update={"attack": Attack(kind="fgsm", epsilon=0.5, alpha=0.5)})
    other = clone(net)
    orders = loop.batches
    monkeypatch.setattr(loop, "batches", lambda i, r, s, e, sh: orders(i, r, s, 3, sh))
    noise = loop.generator
    monkeypatch.setattr(loop, "generator", lambda s, n, e, *r, **k: noise(s, n, 3, *r, **k))
    other.load_state_dict(best[1])
    next(fit(other, stripes, halved, 0))
    assert same(weights(other), weights(net))


@pytest.mark.parametrize("on_collapse", ["continue", "stop"])
def test_alpha_stays_where_it_is_not_to_be_lowered(
    net, stripes, evaluation, monkeypatch, on_collapse
):
    scripted(monkeypatch, 0.9, 0.4, 0.3, 0.2)
    starts, ends = states_at_the_start(monkeypatch, net), {}
    for epoch in fit(net, stripes, nervous(on_collapse), 0, evaluation):
        assert epoch.alpha == 1.0
        ends[epoch.number] = weights(net)
    assert all(same(starts[number + 1], ends[number]) for number in (1, 2, 3))


def test_a_real_collapse_lowers_alpha(net, stripes, evaluation):
    """With the true probe, in a training whose step is far too large."""
    many = replace(stripes, val=striped(512, 1))
    epochs = list(fit(net, many, nervous("lower_alpha", 12), 0, evaluation))
    assert epochs[0].alpha == 1.0
    assert epochs[-1].alpha < 1.0
    for before, after in pairwise(epochs):
        assert after.alpha in (before.alpha, before.alpha / 2)


def test_unattacked_trainings_have_no_alpha(net, stripes, recipe):
    assert [e.alpha for e in fit(net, stripes, Regime(recipe=recipe), 0)] == [None, None]


def test_watching_changes_no_weight(net, stripes, recipe):
    silent = Evaluation(attack=PGD, validation=PGD)
    results = []
    for evaluation in (None, silent):
        model = clone(net)
        list(fit(model, stripes, Regime(recipe=recipe, attack=PGD), 0, evaluation))
        results.append(weights(model))
    assert all(torch.equal(results[0][n], results[1][n]) for n in results[0])


def test_divergence_is_an_error(net, stripes):
    wild = Recipe(epochs=3, batch_size=16, lr=1e30, momentum=0)
    with pytest.raises(FloatingPointError, match="epoch"):
        list(fit(net, stripes, Regime(recipe=wild), 0))


def rates(schedule, epochs=10, steps=4):
    recipe = Recipe(epochs=epochs, lr=0.1, schedule=schedule)
    return [learning_rate(recipe, step, steps) for step in range(epochs * steps)]


def test_schedules_against_torchs_own():
    from torch.optim import SGD
    from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

    def theirs(make, every):
        optimizer = SGD([torch.zeros(1, requires_grad=True)], 0.1)
        scheduler = make(optimizer)
        found = []
        for step in range(40):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if (step + 1) % every == 0:
                scheduler.step()
        return found

    steps = MultiStep(kind="multistep", milestones=(5, 8))
    expected = theirs(lambda optimizer: MultiStepLR(optimizer, [5, 8], 0.1), every=4)
    assert rates(steps) == pytest.approx(expected)
    expected = theirs(lambda optimizer: CosineAnnealingLR(optimizer, 40), every=1)
    assert rates(Cosine(kind="cosine")) == pytest.approx(expected)


def test_constant_and_one_cycle():
    assert set(rates(Constant())) == {0.1}
    cycle = rates(OneCycle(kind="one_cycle", warmup=0.25))
    peak = max(range(40), key=cycle.__getitem__)
    assert 0 < cycle[0] < 0.02 and 0 < cycle[-1] < 0.005
    assert peak == 9
    assert cycle[: peak + 1] == sorted(cycle[: peak + 1])
    assert cycle[peak:] == sorted(cycle[peak:], reverse=True)
    assert math.isclose(max(cycle), 0.1, rel_tol=0.03)


def test_ranks_share_each_batch(stripes):
    recipe = Recipe(epochs=1, batch_size=10, lr=0.1)
    whole = list(batches(stripes.train, recipe, 0, 1, Shard()))
    parts = [list(batches(stripes.train, recipe, 0, 1, Shard(rank, 2))) for rank in (0, 1)]
    assert len(whole) == len(parts[0]) == len(parts[1]) == 7
    assert [len(batch) for batch in whole] == [10, 10, 10, 10, 10, 10, 4]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert len(first) == len(second) == len(batch) / 2
        together = torch.cat([first.x, second.x])
        assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, batch.x.numpy()))


def test_each_epoch_has_its_own_order_and_no_image_twice(stripes):
    recipe = Recipe(epochs=2, batch_size=64, lr=0.1)
    orders = [next(batches(stripes.train, recipe, 0, epoch, Shard())).x for epoch in (1, 2)]
    assert not torch.equal(*orders)
    assert len(set(map(bytes, orders[0].numpy()))) == 64


@pytest.mark.parametrize(
    ("images", "size", "ranks", "expected"),
    [
        (64, 16, 1, [16, 16, 16, 16]),
        (70, 16, 1, [16, 16, 16, 16, 6]),
        (66, 16, 1, [16, 16, 16, 16, 2]),
        (65, 16, 1, [16, 16, 16, 17]),  # BatchNorm cannot normalise one image on a 1x1 map
        (67, 16, 2, [16, 16, 16, 19]),  # two processes would have two images and one
        (68, 16, 2, [16, 16, 16, 16, 4]),
        (10, 16, 1, [10]),
        (1, 16, 1, [1]),
    ],
)
def test_the_last_incomplete_batch_is_trained_on(images, size, ranks, expected):
    recipe = Recipe(epochs=1, batch_size=size, lr=0.1)
    assert recipe.batches(images, ranks) == expected
    order = [
        batch
        for rank in range(ranks)
        for batch in batches(striped(images, 0), recipe, 0, 1, Shard(rank, ranks))
    ]
    assert sum(map(len, order)) == images
    assert len(order) == ranks * len(expected)


def test_every_image_is_trained_on_in_every_epoch(net, stripes, monkeypatch):
    """70 images in batches of 16: 8.6 % of them were left out. Schedules end with the last step."""
    import dataclasses

    seen, rates_of = [], []
    real = recorder.train_step

    def spied(model, optimizer, kept, x, y, *rest):
        seen.append(len(y))
        rates_of.append(optimizer.param_groups[0]["lr"])
        return real(model, optimizer, kept, x, y, *rest)

    monkeypatch.setattr(recorder, "train_step", spied)
    data = dataclasses.replace(stripes, train=striped(70, 0))
    recipe = Recipe(epochs=2, batch_size=16, lr=0.1, schedule=Cosine(kind="cosine"))
    epochs = list(fit(net, data, Regime(recipe=recipe), 0))
    assert seen == [16, 16, 16, 16, 6] * 2
    assert rates_of == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 10)) for k in range(10)])
    assert epochs[0].accuracy * 70 == pytest.approx(round(epochs[0].accuracy * 70), abs=1e-4)


def test_a_rest_of_one_image_trains_on_a_1x1_map(stripes):
    """The deepest maps of this network are 1x1: BatchNorm raises for one image alone."""
    import dataclasses

    from torchvision.models.resnet import BasicBlock

    from trainables.models.resnets import Architecture

    plan = Architecture(BasicBlock, (1, 1, 1, 1), 4, "half")
    model = ResNet(plan, classes=2, channels=1)
    data = dataclasses.replace(stripes, train=striped(33, 0))
    recipe = Recipe(epochs=1, batch_size=16, lr=0.01)
    (epoch,) = fit(model, data, Regime(recipe=recipe), 0)
    assert math.isfinite(epoch.loss)


def test_dropout_draws_from_the_seed_alone(stripes, recipe):
    """Its masks come from torch's own generator, which others use as well."""

    def trained():
        body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        for name, value in body.named_parameters():
            nn.init.normal_(value, std=0.1, generator=generator(0, name))
        torch.manual_seed(torch.seed())
        before = torch.get_rng_state()
        for _ in fit(body, stripes, Regime(recipe=recipe), 0):
            pass
        assert torch.equal(torch.get_rng_state(), before)
        return body.state_dict()

    first, second = trained(), trained()
    assert all(torch.equal(first[name], second[name]) for name in first)
