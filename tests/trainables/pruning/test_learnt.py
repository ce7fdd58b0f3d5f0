"""Trained scores: what the network computes, how they move, and what comes of it."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from search_spaces.regimes import Attack, Recipe, Regime
from tests.conftest import striped
from trainables.pruning import masks
from trainables.pruning.learnt import Scored
from trainables.training.loop import fit

X, Y = striped(32, 0).pixels(), striped(32, 0).y


@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
def test_it_computes_what_the_network_under_its_mask_does(net, scope):
    net.eval()
    count = 200
    scored = Scored(copy.deepcopy(net), count, scope).eval()
    mask = masks.keep(scored.sizes, masks.ones(net), count, scope)
    net.load_state_dict(masks.rewind(net.state_dict(), mask))
    torch.testing.assert_close(scored(X), net(X))


def test_in_each_layer_the_largest_weights_are_there_at_first(net):
    first = Scored(copy.deepcopy(net), 200, "layer").sizes
    for name, score in first.items():
        weight = dict(net.named_parameters())[name].detach().abs()
        expected = weight / weight.max() * math.sqrt(6 / weight[0].numel())
        torch.testing.assert_close(score, expected)


def test_scores_get_the_gradient_of_what_weights_are_multiplied_by(net):
    """Straight through: dL/ds = dL/d(w m) w sign(s), pruned weights included."""
    net.eval()
    scored = Scored(copy.deepcopy(net), 200, "global").eval()
    mask = masks.keep(scored.sizes, masks.ones(net), 200)
    F.cross_entropy(scored(X), Y).backward()
    under = copy.deepcopy(net)
    under.load_state_dict(masks.rewind(net.state_dict(), mask))
    F.cross_entropy(under(X), Y).backward()
    slopes, weights = dict(under.named_parameters()), dict(net.named_parameters())
    revived = []
    for score, (name, kept) in zip(scored.scores, mask.items(), strict=True):
        expected = slopes[name].grad * weights[name].detach() * score.detach().sign()
        torch.testing.assert_close(score.grad, expected, rtol=1e-4, atol=1e-7)
        revived.append(bool(score.grad[~kept].any()))
    assert any(revived)
    assert all(parameter.grad is None for parameter in scored.net.parameters())


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_training_moves_scores_alone_and_finds_a_better_mask(net, stripes, scope):
    before, count = copy.deepcopy(net), 120
    scored = Scored(net, count, scope)
    first = scored.sizes
    attack = Attack(kind="pgd", epsilon=0.05, alpha=0.05, steps=2)
    regime = Regime(recipe=Recipe(epochs=6, lr=0.5, batch_size=16), attack=attack)
    epochs = list(fit(scored, stripes, regime, 0))
    assert epochs[-1].loss < epochs[0].loss
    for own, parameter in zip(before.parameters(), scored.net.parameters(), strict=True):
        assert torch.equal(own, parameter)
    dense = masks.ones(net)
    now, then = (masks.keep(scores, dense, count, scope) for scores in (scored.sizes, first))
    assert masks.counts(now)[0] == masks.counts(then)[0] == count
    assert any(not torch.equal(now[name], then[name]) for name in dense)
