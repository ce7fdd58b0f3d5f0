"""The L2 ball: starts, steps and projections against closed forms."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from search_spaces.keys import canonical, key
from search_spaces.regimes import Attack
from tests.conftest import striped
from trainables.data.images import Images
from trainables.runtime.seeding import generator
from trainables.training.attacks import climb, perturb, start, survivors, withstands
from trainables.training.evaluation import evaluate

L2 = Attack(kind="pgd", norm="l2", epsilon=0.5, alpha=0.2, steps=5)


def grey(n, value=0.5):
    return torch.full((n, 1, 8, 8), value)


def lengths(x):
    return x.flatten(1).norm(dim=1)


class Linear(nn.Module):
    """Two classes by the sign of w x: the worst change of norm epsilon is along w."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, generator=torch.Generator().manual_seed(3)))

    def forward(self, x):
        margin = x.flatten(1) @ self.w
        return torch.stack([margin, -margin], 1)


def test_starts_are_uniform_in_the_ball():
    """The share within radius r is (r / epsilon)^d: length^d is uniform."""
    drawn = start(grey(4000), L2, generator(0, "x")) - 0.5
    shares = (lengths(drawn).double() / 0.5) ** 64
    assert lengths(drawn).max() <= 0.5 + 1e-6
    assert abs(shares.mean() - 0.5) < 0.03 and abs(shares.var() - 1 / 12) < 0.01
    assert drawn.flatten(1).mean(0).abs().max() < 0.01


def test_on_a_linear_network_pgd_finds_the_worst_change():
    net = Linear()
    x, y = grey(6), torch.tensor([0, 1] * 3)
    attacked = perturb(net, x, y, L2.model_copy(update={"steps": 40}), generator(0, "x"))
    worst = -0.5 * net.w / net.w.norm() * torch.tensor([1.0, -1.0] * 3)[:, None]
    torch.testing.assert_close((attacked - x).flatten(1), worst.detach(), atol=2e-3, rtol=0.0)


def test_one_step_is_of_length_alpha_along_the_gradient():
    x = grey(2)
    slope = torch.zeros_like(x)
    slope[0, 0, 0, 0], slope[0, 0, 0, 1] = 3.0, 4.0  # The other image's gradient has vanished.
    moved = climb(x, slope, L2, x, x) - x
    assert moved[0, 0, 0, :2].tolist() == pytest.approx([0.12, 0.16])
    assert not moved[1].any()
    assert lengths(moved).tolist() == pytest.approx([0.2, 0.0])


def test_what_leaves_the_ball_is_scaled_back_onto_it_and_into_the_pixels():
    x = grey(1, 0.9)
    far = x.clone()
    far[0, 0, 0, 0] += 0.6
    moved = climb(far, torch.zeros_like(x), L2, x, x)
    assert moved[0, 0, 0, 0] == 1.0  # 0.9 + 0.5 is beyond white.
    down = x.clone()
    down[0, 0, 0, 0] -= 0.8
    assert climb(down, torch.zeros_like(x), L2, x, x)[0, 0, 0, 0] == pytest.approx(0.4)


def test_attacked_images_stay_in_the_ball_and_in_the_pixels(net):
    images = striped(32, 0)
    x = images.pixels()
    for kind in ("pgd", "fgsm"):
        how = Attack(kind=kind, norm="l2", epsilon=1.5, alpha=1.0, steps=4 if kind == "pgd" else 1)
        attacked = perturb(net.eval(), x, images.y, how, generator(0, "x"))
        assert lengths(attacked - x).max() <= 1.5 + 1e-5
        assert attacked.min() >= 0 and attacked.max() <= 1
        assert not attacked.requires_grad


def test_every_iterate_is_counted_alike_in_place_and_by_itself(net):
    net.eval()
    images = striped(48, 0)
    x = images.pixels()
    how = L2.model_copy(update={"epsilon": 1.0})
    right = withstands(net, x, images.y, how, generator(0, "x"))
    stood = survivors(net, [(x, images.y, generator(0, "x"))], how, 16)
    assert torch.equal(right.nonzero().flatten(), stood)


def test_a_larger_ball_fools_more(net, stripes):
    from search_spaces.regimes import Recipe, Regime
    from trainables.training.loop import fit

    list(fit(net, stripes, Regime(recipe=Recipe(epochs=6, lr=0.05, batch_size=16)), 0))
    test = Images(stripes.test.x, stripes.test.y)
    ra = [
        evaluate(net, test, L2.model_copy(update={"epsilon": e, "alpha": e / 2})).scores.ra
        for e in (0.01, 1.0, 4.0)
    ]
    assert ra[0] > ra[2] and ra == sorted(ra, reverse=True)


def test_the_norm_has_its_rules_and_its_keys():
    assert "norm" not in canonical(Attack(kind="pgd", epsilon=0.1, alpha=0.1))
    assert key(Attack(kind="pgd", epsilon=0.1, alpha=0.1)) != key(
        Attack(kind="pgd", norm="l2", epsilon=0.1, alpha=0.1)
    )
    assert Attack(kind="pgd", norm="l2", epsilon=3, alpha=1.5).epsilon == 3
    for wrong in ({"kind": "pgd", "epsilon": 2}, {"kind": "n_fgsm", "epsilon": 0.1, "norm": "l2"}):
        with pytest.raises(ValidationError, match="linf"):
            Attack(alpha=0.1, **wrong)
    assert math.isclose(
        Attack(kind="pgd", norm="l2", epsilon="128/255", alpha=1).epsilon, 128 / 255
    )
