"""What is no number is never right, wherever right answers are counted."""

import math

import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from search_spaces.regimes import Attack, Recipe, Regime
from trainables.data.images import Images
from trainables.evidence.calibration import answers
from trainables.judging.checks import withstands_other
from trainables.runtime.seeding import generator
from trainables.training.accuracy import commonest, correct, interval
from trainables.training.evaluation import evaluate
from trainables.training.overfitting import gradient_cosine
from trainables.training.step import gradients

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=2)


class Broken(nn.Module):
    """Logits that do not depend on the image, and with `bad` among them."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        return self.logits + 0 * x.flatten(1)[:, :1]


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ((1.0, 0.0, -1.0), [True, False]),
        ((0.0, 1.0, -1.0), [False, True]),
        ((math.nan, 0.0, 0.0), [False, False]),  # argmax says 0
        ((0.0, math.nan, 0.0), [False, False]),
        ((math.nan, math.nan, math.nan), [False, False]),
        ((math.inf, 0.0, 0.0), [False, False]),
        ((1.0, 0.0, -math.inf), [False, False]),
    ],
)
def test_correct(logits, expected):
    y = torch.tensor([0, 1])
    assert correct(torch.tensor([logits, logits]), y).tolist() == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("protocol", ["plain", "worst_iterate"])
def test_nothing_counts_a_broken_network_as_right(bad, protocol):
    net = Broken(bad, 0.0)
    x, y = torch.rand(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64)
    images = Images((x * 255).to(torch.uint8), y)
    found = evaluate(net, images, PGD, protocol)
    assert (found.scores.sa, found.scores.ra) == (0.0, 0.0)
    regime = Regime(recipe=Recipe(epochs=1, lr=0.1))
    assert gradients(net, x, y, regime, generator(0, "x"))[1] == 0
    assert not withstands_other(net, Broken(1.0, 0.0), images, PGD).any()
    said = answers(net, images, PGD, 0)
    for view in ("clean", "attacked"):
        assert not (said[f"{view}_prediction"] == y).any()
        assert (said[f"{view}_confidence"] == 0).all()
    assert gradient_cosine(net, images, 0.1, 0) == 0


@pytest.mark.parametrize(
    ("labels", "expected"), [([0, 1], 0.5), ([2, 2, 0, 2], 0.75), ([1, 1, 1], 1.0), ([3], 1.0)]
)
def test_the_commonest_class(labels, expected):
    assert commonest(torch.tensor(labels)) == expected


@pytest.mark.parametrize(("right", "images"), [(0, 5), (3, 5), (90, 100), (100, 100)])
def test_intervals_are_wilsons(right, images):
    theirs = binomtest(right, images).proportion_ci(method="wilson")
    ours = interval(torch.arange(images) < right)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_interval_of_shares_tends_to_the_means():
    """Of many images with several versions each, the mean plus and minus 1.96 of its errors."""
    shares = torch.rand(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = interval(shares)
    half = 1.96 * shares.std().item() / len(shares) ** 0.5
    assert (high - low) / 2 == pytest.approx(half, rel=1e-3)
    assert (high + low) / 2 == pytest.approx(shares.mean().item(), abs=1e-4)
