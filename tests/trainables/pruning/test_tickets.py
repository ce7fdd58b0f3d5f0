"""Finding tickets: the order prune, rewind, re-train; resuming; the other methods."""

import pytest
import torch

from search_spaces.prunings import Pruning
from search_spaces.regimes import Recipe, Regime
from tests.conftest import striped
from trainables.pruning import masks, tickets
from trainables.pruning.collapse import empty_layers, is_cut
from trainables.pruning.criteria import CRITERIA, synflow
from trainables.runtime.seeding import generator

IMP = Pruning(method="imp", retraining=Regime(recipe=Recipe(epochs=1, lr=0.1)))
THETA = {"a": torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), "b": torch.tensor([7.0])}
DENSE = tickets.Found(0, {"a": torch.ones(5, dtype=torch.bool)}, THETA)


def reversing(calls):
    """Re-training that makes large weights small and small ones large."""

    def retrain(weights, mask, level):
        calls.append((level, weights["a"].tolist(), mask["a"].tolist()))
        return {"a": torch.where(weights["a"] != 0, 10 - weights["a"], 0.0)}

    return retrain


def test_prunes_theta_first_then_by_retrained_magnitudes():
    calls = []
    found = list(tickets.imp(THETA, DENSE, IMP, 3, reversing(calls)))
    assert [ticket.level for ticket in found] == [1, 2, 3]
    # Round 1 drops theta's smallest (1); later rounds theta's largest, the re-trained smallest.
    assert [ticket.mask["a"].int().tolist() for ticket in found] == [
        [1, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
    ]
    assert all(ticket.weights is THETA for ticket in found)
    # Every re-training starts from theta under the mask; the last round needs none.
    assert calls == [
        (1, [5.0, 4.0, 3.0, 2.0, 0.0], [True, True, True, True, False]),
        (2, [0.0, 4.0, 3.0, 2.0, 0.0], [False, True, True, True, False]),
    ]


def test_late_rewinding_prunes_theta_and_trains_earlier_weights():
    calls, early = [], {"a": -THETA["a"], "b": torch.tensor([1.0])}
    first, second = tickets.imp(THETA, DENSE._replace(weights=early), IMP, 2, reversing(calls))
    assert first.mask["a"].tolist() == [True, True, True, True, False]
    assert first.weights is second.weights is early
    assert calls == [(1, [-5.0, -4.0, -3.0, -2.0, -0.0], [True, True, True, True, False])]


@pytest.mark.parametrize("rewind", ["none", "learning_rate"])
def test_without_rewinding_a_round_goes_on_from_what_it_has_pruned(rewind):
    calls = []
    on = IMP.model_copy(update={"rewind": rewind})
    found = list(tickets.imp(THETA, DENSE, on, 3, reversing(calls)))
    assert [ticket.weights["a"].tolist() for ticket in found] == [
        [5.0, 4.0, 3.0, 2.0, 1.0],
        [5.0, 6.0, 7.0, 8.0, 0.0],
        [0.0, 4.0, 3.0, 2.0, 0.0],
    ]
    assert [(level, weights) for level, weights, _ in calls] == [
        (1, [5.0, 4.0, 3.0, 2.0, 0.0]),
        (2, [0.0, 6.0, 7.0, 8.0, 0.0]),
    ]


@pytest.mark.parametrize("rewind", ["theta", "learning_rate"])
def test_resuming_from_a_ticket_gives_the_same_rounds(rewind):
    pruning = IMP.model_copy(update={"rewind": rewind})
    whole = list(tickets.imp(THETA, DENSE, pruning, 6, reversing([])))
    calls = []
    resumed = list(tickets.imp(THETA, whole[2], pruning, 6, reversing(calls)))
    assert [ticket.level for ticket in resumed] == [4, 5, 6]
    for one, other in zip(whole[3:], resumed, strict=True):
        assert torch.equal(one.mask["a"], other.mask["a"])
        assert torch.equal(one.weights["a"], other.weights["a"])
    assert [level for level, *_ in calls] == [3, 4, 5]


def at_once(net, method, level, data=(), **more):
    theta = {name: value.clone() for name, value in net.state_dict().items()}
    pruning = Pruning(method=method, **more)
    criterion = CRITERIA[method]
    return tickets.at_once(net, theta, masks.ones(net), pruning, level, criterion, data)


@pytest.fixture
def shown():
    images = striped(16, 0)
    return [(images.pixels(), images.y)]


def test_every_method_keeps_the_same_number_at_a_level(net, shown):
    net.eval()
    theta = {name: value.clone() for name, value in net.state_dict().items()}
    dense = masks.ones(net)
    total = masks.counts(dense)[1]
    for level in (1, 5, 9):
        start = tickets.Found(0, dense, theta)
        *_, last = tickets.imp(theta, start, IMP, level, lambda weights, mask, level: weights)
        made = {method: at_once(net, method, level, shown) for method in CRITERIA}
        expected = round(total * 0.8**level)
        kept = {method: masks.counts(mask)[0] for method, mask in made.items()}
        assert kept == dict.fromkeys(made, expected)
        # Without re-training, rounds of pruning are one pruning.
        assert all(torch.equal(last.mask[name], kept) for name, kept in made["one_shot"].items())
        net.load_state_dict(theta)


@pytest.mark.parametrize("method", ["one_shot", "synflow"])
@pytest.mark.parametrize("structure", ["2:4", "unstructured"])
@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
def test_scopes_and_structures_are_exact(net, shown, method, structure, scope):
    mask = at_once(net.eval(), method, 2, shown, rate=0.5, scope=scope, structure=structure)
    kept, total = masks.counts(mask)
    assert kept == round(total * 0.25)
    if structure == "2:4":
        groups = mask["layer2.0.conv2.weight"].movedim(1, -1).reshape(-1, 4)
        assert groups.sum(1).max() == 2


def test_iterations_keep_synflow_from_emptying_a_layer(net, shown):
    """Tanaka et al. 2020: in one round it does what it should prevent; in a hundred it does not."""
    net.eval()
    theta = {name: value.clone() for name, value in net.state_dict().items()}
    keep = 40
    iterated = at_once(net, "synflow", 16, shown)
    net.load_state_dict(theta)
    once = masks.keep(synflow(net, shown, None), masks.ones(net), masks.counts(iterated)[0])
    assert masks.counts(iterated)[0] < keep
    assert not is_cut(net, theta, iterated, (1, 8, 8))
    assert len(empty_layers(once)) >= len(empty_layers(iterated))


def test_random_tickets_depend_on_seed_and_level_only(net):
    first = at_once(net, "random", 3)
    same, other = at_once(net, "random", 3), at_once(net, "random", 3, seed=1)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_random_tickets_are_those_of_earlier_releases(net):
    """Results stored under their keys stay what those keys say."""
    drawn = at_once(net, "random", 5)
    rng = generator(0, "random-pruning", 5)
    expected = masks.ones(net)
    flat = torch.cat([m.flatten() for m in expected.values()])
    flat[torch.randperm(len(flat), generator=rng)[masks.counts(drawn)[0] :]] = False
    assert torch.equal(torch.cat([m.flatten() for m in drawn.values()]), flat)
