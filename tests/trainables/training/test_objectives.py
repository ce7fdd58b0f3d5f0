"""Objectives: each against its formula written out in another way, image by image."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from search_spaces.keys import key
from search_spaces.regimes import Attack, CrossEntropy, Mart, Recipe, Regime, Trades
from trainables.runtime.seeding import generator
from trainables.training import objectives
from trainables.training.attacks import perturb
from trainables.training.step import gradients

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=3)
RECIPE = Recipe(epochs=1, lr=0.1, batch_size=16)


@pytest.fixture
def logits():
    rng = torch.Generator().manual_seed(0)
    clean, attacked = torch.randn(2, 6, 4, generator=rng, dtype=torch.float64)
    return clean, attacked, torch.tensor([0, 1, 2, 3, 0, 1])


def by_hand(clean, attacked, y):
    """(cross-entropy of clean, of attacked, KL, largest other probability, p_y of clean) an image,
    in Python's own numbers."""
    for c, a, label in zip(clean.tolist(), attacked.tolist(), y.tolist(), strict=True):
        p = [math.exp(v) / sum(map(math.exp, c)) for v in c]
        q = [math.exp(v) / sum(map(math.exp, a)) for v in a]
        kl = sum(pi * math.log(pi / qi) for pi, qi in zip(p, q, strict=True))
        rival = max(qi for i, qi in enumerate(q) if i != label)
        yield -math.log(p[label]), -math.log(q[label]), kl, rival, p[label]


def test_trades_is_the_papers_sum(logits):
    rows = list(by_hand(*logits))
    expected = sum(ce + 6 * kl for ce, _, kl, _, _ in rows) / len(rows)
    assert objectives.trades(*logits, beta=6.0).item() == pytest.approx(expected, rel=1e-12)


def test_mart_is_the_papers_sum(logits):
    rows = list(by_hand(*logits))
    expected = sum(
        ce - math.log(1.0001 - rival) + 5 * kl * (1 - p) for _, ce, kl, rival, p in rows
    ) / len(rows)
    assert objectives.mart(*logits, beta=5.0).item() == pytest.approx(expected, rel=1e-12)


def test_they_agree_with_torchs_own_divergence(logits):
    """As the authors' scripts write it: KLDivLoss of log-probabilities and probabilities."""
    clean, attacked, y = logits
    kl = nn.KLDivLoss(reduction="sum")(F.log_softmax(attacked, 1), F.softmax(clean, 1)) / len(y)
    torch.testing.assert_close(
        objectives.trades(clean, attacked, y, 6.0), F.cross_entropy(clean, y) + 6.0 * kl
    )
    each = nn.KLDivLoss(reduction="none")(F.log_softmax(attacked, 1), F.softmax(clean, 1)).sum(1)
    true = F.softmax(clean, 1).gather(1, y[:, None]).squeeze()
    ordered = F.softmax(attacked, 1).argsort(1)[:, -2:]
    rival = torch.where(ordered[:, -1] == y, ordered[:, -2], ordered[:, -1])
    boosted = F.cross_entropy(attacked, y) + F.nll_loss(
        torch.log(1.0001 - F.softmax(attacked, 1)), rival
    )
    torch.testing.assert_close(
        objectives.mart(clean, attacked, y, 5.0), boosted + 5.0 * (each * (1 - true)).mean()
    )


@pytest.mark.parametrize("of", [objectives.trades, objectives.mart])
def test_a_network_that_is_sure_has_finite_gradients(of):
    clean = torch.tensor([[80.0, -80.0]], requires_grad=True)
    attacked = torch.tensor([[80.0, -80.0]], requires_grad=True)
    loss = of(clean, attacked, torch.tensor([1]), 5.0)
    slopes = torch.autograd.grad(loss, [clean, attacked])
    assert loss.isfinite() and all(slope.isfinite().all() for slope in slopes)


def batch():
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(16) % 2


@pytest.mark.parametrize(
    "loss", [Trades(kind="trades"), Mart(kind="mart"), CrossEntropy(smoothing=0.2)]
)
def test_a_steps_gradient_is_that_of_the_loss_on_its_two_passes(net, loss):
    x, y = batch()
    net.eval()
    regime = Regime(recipe=RECIPE, attack=PGD, attack_mode="eval", loss=loss)
    value, right = gradients(net, x, y, regime, generator(0, "x"))
    ours = [p.grad.clone() for p in net.parameters()]
    with torch.no_grad():
        clean = net(x)
    climbed = (
        (lambda out: objectives.divergence(clean, out).sum()) if loss.kind == "trades" else None
    )
    attacked = perturb(net, x, y, PGD, generator(0, "x"), climbed=climbed)
    net.zero_grad()
    if loss.kind == "cross_entropy":
        expected = (
            0.8 * F.cross_entropy(net(attacked), y) - 0.2 * net(attacked).log_softmax(1).mean()
        )
    else:
        of = getattr(objectives, loss.kind)
        expected = of(net(x), net(attacked), y, loss.beta)
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    assert right == (net(attacked).argmax(1) == y).sum()
    for own, parameter in zip(ours, net.parameters(), strict=True):
        torch.testing.assert_close(own, parameter.grad, rtol=1e-4, atol=1e-6)


def test_trades_attack_moves_the_prediction_more_than_cross_entropys_would(net):
    x, y = batch()
    net.eval()
    clean = net(x).detach()

    def moved(climbed):
        out = net(perturb(net, x, y, PGD, generator(0, "x"), climbed=climbed))
        return objectives.divergence(clean, out).mean().item()

    assert moved(objectives.climbed(net, x, Trades(kind="trades"))) > moved(None)


def test_a_loss_may_be_named_alone_and_its_default_enters_no_key():
    named = Regime(recipe=RECIPE, attack=PGD, loss="trades")
    assert named.loss == Trades(kind="trades", beta=6.0)
    plain = Regime(recipe=RECIPE, attack=PGD)
    assert key(Regime(recipe=RECIPE, attack=PGD, loss="cross_entropy")) == key(plain)
    smooth = Regime(recipe=RECIPE, attack=PGD, loss=CrossEntropy(smoothing=0.1))
    assert len({key(r) for r in (named, plain, smooth)}) == 3


@pytest.mark.parametrize("attack", [None, Attack(kind="n_fgsm", epsilon=0.1, alpha=0.1)])
def test_losses_of_pairs_need_an_attack_that_climbs_them(attack):
    with pytest.raises(ValidationError, match=r"loss mart .* attack of kind pgd or fgsm"):
        Regime(recipe=RECIPE, attack=attack, loss="mart")
