"""Steps and answers in place: bit for bit those on own tensors, and recorded once for all."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from search_spaces.errors import InputError
from search_spaces.regimes import Attack, Cosine, Evaluation, Recipe, Regime
from search_spaces.spec import Augmentation
from trainables.pruning import masks
from trainables.runtime import capture
from trainables.runtime.seeding import generator
from trainables.store.records import epoch_record, now, provenance
from trainables.training import workspace
from trainables.training.evaluation import evaluate
from trainables.training.loop import fit, snapshot

FGSM = Attack(kind="fgsm", epsilon=0.1, alpha=0.125)
N_FGSM = Attack(kind="n_fgsm", epsilon=0.1, alpha=0.1)
PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=3)
HOW = Augmentation(crop=1, flip=True)


@pytest.fixture
def recordings(monkeypatch):
    """What is recorded: for each, the shape of its images. Like a graph's, recording a step takes
    some of them, on images that nobody asked for."""
    monkeypatch.setattr(workspace, "KEPT", type(workspace.KEPT)())
    monkeypatch.setenv(capture.VARIABLE, "calls")
    found = []

    def recorded(step, device, rng):
        found.append(tuple(step.args[-2].shape))
        step()
        step()
        return step, "graph"

    monkeypatch.setattr(workspace, "recorded", recorded)
    return found


def regime(attack=None, **recipe):
    return Regime(
        recipe=Recipe(**{"epochs": 2, "batch_size": 16, "lr": 0.1} | recipe), attack=attack
    )


def trained(net, data, how, **options):
    model = copy.deepcopy(net)
    epochs = list(fit(model, data, how, 0, augmentation=HOW, **options))
    return [(e.loss, e.accuracy, e.val, e.alpha) for e in epochs], snapshot(model)


def both(monkeypatch, work):
    """What `work` returns of steps on a network's own tensors, and of steps in place."""
    results = []
    for way in ("off", "calls"):
        monkeypatch.setenv(capture.VARIABLE, way)
        results.append(work())
    return results


def assert_same(one, other):
    assert one[0] == other[0]
    assert all(torch.equal(value, other[1][name]) for name, value in one[1].items())


@pytest.mark.parametrize(
    "how",
    [
        regime(),
        regime(FGSM),
        regime(N_FGSM),
        regime(PGD),
        regime(PGD).model_copy(update={"attack_mode": "eval"}),
        regime(momentum=0.0, weight_decay=0.0),
        regime(PGD, schedule=Cosine(kind="cosine"), epochs=3),
        regime(PGD, micro_batch=6),
        regime(PGD, batch_size=24),  # of 64 images: the last batch is smaller
    ],
    ids=lambda how: str(how.attack and how.attack.kind),
)
def test_in_place_is_as_on_its_own(net, stripes, evaluation, recordings, monkeypatch, how):
    mask = masks.random(masks.ones(net), 150, generator(0, "x"))
    options = {"mask": mask if how.attack else None, "evaluation": evaluation}
    assert_same(*both(monkeypatch, lambda: trained(net, stripes, how, **options)))
    assert recordings


def test_alpha_is_lowered_in_place(net, stripes, recordings, monkeypatch):
    watched = {"on_collapse": "lower_alpha", "fall": 0.001, "gap": 0.001, "patience": 1}
    strong = Attack(kind="fgsm", epsilon=0.5, alpha=1.0)
    how = Regime.model_validate(
        {"recipe": regime(epochs=8, lr=0.2).recipe, "attack": strong, "containment": watched}
    )
    evaluation = Evaluation(attack=PGD, validation=PGD)
    one, other = both(monkeypatch, lambda: trained(net, stripes, how, evaluation=evaluation))
    assert_same(one, other)
    assert one[0][-1][-1] < 1.0, "alpha was not lowered"


def test_resumed_at_any_epoch(net, stripes, recordings):
    how = regime(PGD, epochs=3)
    whole = copy.deepcopy(net)
    lefts = [epoch.progress() for epoch in fit(whole, stripes, how, 0)]
    for left in lefts[:-1]:
        model = copy.deepcopy(net)
        list(fit(model, stripes, how, 0, resume=left))
        assert_same(([], snapshot(model)), ([], snapshot(whole)))


def test_one_way_goes_on_where_the_other_stopped(net, stripes, recordings, monkeypatch):
    how = regime(PGD, epochs=3)
    whole = copy.deepcopy(net)
    list(fit(whole, stripes, how, 0))
    for first, second in (("off", "calls"), ("calls", "off")):
        model = copy.deepcopy(net)
        monkeypatch.setenv(capture.VARIABLE, first)
        left = next(fit(model, stripes, how, 0)).progress()
        monkeypatch.setenv(capture.VARIABLE, second)
        list(fit(model, stripes, how, 0, resume=left))
        assert_same(([], snapshot(model)), ([], snapshot(whole)))


def test_it_is_recorded_once_for_all_trainings_of_a_kind(net, stripes, recordings):
    """Over epochs, trainings, learning rates, alphas, masks, seeds and weights."""
    mask = masks.random(masks.ones(net), 150, generator(0, "x"))
    other = copy.deepcopy(net)
    nn.init.normal_(other.conv1.weight)
    trained(net, stripes, regime(PGD))
    assert recordings == [(16, 1, 8, 8)]
    faster = PGD.model_copy(update={"alpha": 0.01})
    trained(other, stripes, regime(faster, lr=0.03, epochs=3), mask=mask)
    assert len(recordings) == 1
    trained(net, stripes, regime())
    trained(net, stripes, regime(PGD, batch_size=32))
    assert recordings[1:] == [(16, 1, 8, 8), (32, 1, 8, 8)]


def test_trainings_that_take_turns_keep_apart(net, stripes, recordings):
    how = regime(PGD, epochs=3)
    alone = [copy.deepcopy(net) for _ in range(2)]
    turns = copy.deepcopy(alone)
    for seed, model in enumerate(alone):
        list(fit(model, stripes, how, seed))
    list(zip(*(fit(model, stripes, how, seed) for seed, model in enumerate(turns)), strict=True))
    assert len(recordings) == 1
    for one, other in zip(alone, turns, strict=True):
        assert_same(([], snapshot(one)), ([], snapshot(other)))


@pytest.mark.parametrize("protocol", ["plain", "worst_iterate"])
def test_answers_in_place(net, stripes, recordings, monkeypatch, protocol):
    list(fit(net, stripes, regime(epochs=3), 0))
    recordings.clear()
    weak = Attack(kind="pgd", epsilon=0.05, alpha=0.02, steps=3, restarts=2)
    own, placed = both(monkeypatch, lambda: evaluate(net, stripes.train, weak, protocol))
    assert torch.equal(own.clean, placed.clean) and torch.equal(own.attacked, placed.attacked)
    assert 0 < own.attacked.sum() < own.clean.sum()
    assert (own.execution, placed.execution) == ("eager", "graph")
    assert recordings == [(64, 1, 8, 8)] * 2
    evaluate(net, stripes.train, weak, protocol, seed=1)
    assert len(recordings) == 2


def test_answers_do_not_depend_on_what_fills_a_batch(net, stripes, recordings):
    """In batches of 24, the last of 64 images has 16, and all that are attacked fill others."""
    list(fit(net, stripes, regime(epochs=3), 0))
    whole = evaluate(net, stripes.train, None)
    assert torch.equal(evaluate(net, stripes.train, None, batch_size=24).clean, whole.clean)
    nothing = Attack(kind="pgd", epsilon=1e-6, alpha=1e-6, steps=1)
    parted = evaluate(net, stripes.train, nothing, batch_size=24)
    assert torch.equal(parted.attacked, whole.clean)


def test_a_network_is_told_by_all_but_its_weights(net):
    other = copy.deepcopy(net)
    nn.init.normal_(other.fc.weight)
    assert workspace.structure(other) == workspace.structure(net)
    assert workspace.structure(other.eval()) != workspace.structure(net)
    other.train().bn1.momentum = 0.2
    assert workspace.structure(other) != workspace.structure(net)
    for change in ("fc", "requires_grad"):
        other = copy.deepcopy(net)
        if change == "fc":
            other.fc = nn.Linear(other.fc.in_features, 3)
        else:
            other.conv1.weight.requires_grad_(False)
        assert workspace.structure(other) != workspace.structure(net)


def test_what_cannot_be_told_is_trained_on_its_own(net, stripes, recordings):
    net.register_forward_hook(lambda *_: None)
    (first, *_) = fit(net, stripes, regime(), 0)
    assert not recordings
    assert first.execution.startswith("eager: ")


def test_how_steps_were_executed_is_kept(net, stripes, recordings, monkeypatch):
    records = [epoch_record(epoch) for epoch in fit(net, stripes, regime(), 0)]
    assert provenance(now(), torch.device("cpu"), epochs=records)["execution"] == "graph"
    monkeypatch.setenv(capture.VARIABLE, "off")
    records = [epoch_record(epoch) for epoch in fit(net, stripes, regime(), 0)]
    assert provenance(now(), torch.device("cpu"), epochs=records)["execution"] == "eager"


def test_by_default_a_cpu_works_on_its_own_tensors(monkeypatch):
    monkeypatch.delenv(capture.VARIABLE, raising=False)
    assert not capture.in_place(torch.device("cpu"))
    assert capture.in_place(torch.device("cuda"))
    monkeypatch.setenv(capture.VARIABLE, "sometimes")
    with pytest.raises(InputError, match=capture.VARIABLE):
        capture.in_place(torch.device("cpu"))


def test_few_workspaces_are_kept(stripes, recordings):
    from torchvision.models.resnet import BasicBlock

    from trainables.models.resnets import Architecture, ResNet

    sizes = []
    for width in range(4, 13):
        plan = Architecture(BasicBlock, (1,), width, "cifar")
        model = ResNet(plan, classes=2, channels=1)
        next(fit(model, replace(stripes, train=stripes.train[:16]), regime(), 0))
        sizes.append(len(workspace.KEPT))
    assert all(after >= before for before, after in pairwise(sizes))
    assert sizes[-1] == sizes[-2] < len(sizes)
