"""Evaluation: by hand, protocols, restarts, and the model left as it was."""

import pytest
import torch
from torch import nn

from search_spaces.regimes import Attack
from trainables.data.images import Images
from trainables.training.evaluation import evaluate

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=5)


class Brightness(nn.Module):
    """Class 1 for images brighter than one half."""

    def forward(self, x):
        score = x.flatten(1).mean(1, keepdim=True) - 0.5
        return torch.cat([-score, score], 1)


def grey(*levels):
    x = torch.tensor([round(255 * level) for level in levels], dtype=torch.uint8)
    return x.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()


@pytest.mark.parametrize("protocol", ["plain", "worst_iterate"])
def test_scores_by_hand(protocol):
    images = Images(grey(0.9, 0.55, 0.45, 0.2), torch.tensor([1, 1, 1, 0]))
    results = evaluate(Brightness(), images, PGD, protocol)
    assert results.clean.tolist() == [True, True, False, True]
    assert results.attacked.tolist() == [True, False, False, True]
    assert (results.scores.sa, results.scores.ra) == (0.75, 0.5)


def test_without_an_attack_nothing_is_attacked():
    results = evaluate(Brightness(), Images(grey(0.9), torch.tensor([1])), None)
    assert results.attacked is None
    assert results.scores.ra is None


def trained(net, stripes):
    from search_spaces.regimes import Recipe, Regime
    from trainables.training.loop import fit

    list(fit(net, stripes, Regime(recipe=Recipe(epochs=5, batch_size=16, lr=0.05)), 0))
    return net


def test_worst_iterate_is_never_above_plain(net, stripes):
    model = trained(net, stripes)
    plain = evaluate(model, stripes.test, PGD, "plain")
    worst = evaluate(model, stripes.test, PGD, "worst_iterate")
    assert torch.equal(plain.clean, worst.clean)
    assert not (worst.attacked & ~plain.clean).any()
    assert worst.scores.ra <= plain.scores.ra < plain.scores.sa


def test_restarts_only_ever_fool_more(net, stripes):
    model = trained(net, stripes)
    weak = Attack(kind="pgd", epsilon=0.3, alpha=0.05, steps=1)
    once = evaluate(model, stripes.test, weak)
    often = evaluate(model, stripes.test, weak.model_copy(update={"restarts": 8}))
    assert not (often.attacked & ~once.attacked).any()
    assert often.scores.ra < once.scores.ra


@pytest.mark.parametrize("training", [True, False])
def test_judges_in_eval_mode_and_restores_the_mode(net, stripes, training):
    net.train(training)
    statistics = net.bn1.running_mean.clone()
    first = evaluate(net, stripes.test, PGD)
    assert net.training is training
    assert torch.equal(net.bn1.running_mean, statistics)
    assert torch.equal(first.attacked, evaluate(net, stripes.test, PGD).attacked)


def test_an_all_wrong_batch_needs_no_attack():
    images = Images(grey(0.9, 0.8), torch.tensor([0, 0]))
    assert evaluate(Brightness(), images, PGD).attacked.tolist() == [False, False]
