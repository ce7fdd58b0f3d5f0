"""Catastrophic overfitting: the decision on hand-made histories, the signals on closed forms."""

import pytest
import torch
from torch import nn

from search_spaces.regimes import Attack, Containment
from trainables.data.images import Images
from trainables.training.overfitting import (
    Signals,
    collapsed,
    gradient_cosine,
    hit,
    noise,
    probe,
)

WATCH = Containment(fall=0.4, gap=0.4, bend=0.5, patience=2, probe_images=10_000)


def history(*epochs):
    return [Signals(fgsm=fgsm, pgd=pgd, cosine=cosine) for fgsm, pgd, cosine in epochs]


# (FGSM, PGD, cosine). At its best PGD is 0.5 and the cosine 0.8: below 0.3 PGD has fallen, below
# 0.4 the cosine has bent, and FGSM gapes from 0.2 above PGD on; the probe's noise is 0.015.
RISE = [(0.5, 0.3, 0.8), (0.6, 0.5, 0.7)]
BOTH = (0.95, 0.05, 0.1)
GAP = (0.95, 0.05, 0.7)
BEND = (0.1, 0.05, 0.1)
FALL = (0.1, 0.05, 0.7)
RISING = (0.9, 0.6, 0.1)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ((0.6, 0.5, 0.7), False),
        (FALL, False),
        (GAP, True),
        (BEND, True),
        (BOTH, True),
        ((0.9, 0.5, 0.7), False),
        ((0.6, 0.5, 0.1), False),
        (RISING, False),
    ],
    ids=[
        "healthy",
        "PGD falls and FGSM with it",
        "PGD falls, FGSM soars",
        "PGD falls, the loss bends",
        "all three",
        "a gap alone",
        "a bend alone",
        "gap and bend while PGD rises: a false alarm",
    ],
)
def test_a_hit_is_a_fall_with_a_gap_or_a_bend(last, expected):
    assert hit(history(*RISE, last), WATCH, 10_000) is expected


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ((0.9, 0.26, 0.7), False),
        ((0.9, 0.24, 0.7), True),
        ((0.32, 0.125, 0.7), False),
        ((0.33, 0.125, 0.7), True),
        ((0.1, 0.1, 0.41), False),
        ((0.1, 0.1, 0.39), True),
    ],
    ids=["no fall", "fall", "no gap", "gap", "no bend", "bend"],
)
def test_thresholds_are_the_containments(last, expected):
    watch = Containment(fall=0.5, gap=0.4, bend=0.5, probe_images=10_000)
    assert hit(history(*RISE, last), watch, 10_000) is expected


@pytest.mark.parametrize("images", [256, 1024])
@pytest.mark.parametrize("best", [0.05, 0.1, 0.15, 0.3, 0.6])
def test_a_collapse_is_seen_at_any_accuracy(best, images):
    """CIFAR-100, or one per cent of CIFAR-10: PGD accuracy of 0.15 that falls to 0 is a collapse,
    whether FGSM accuracy soars or only stays."""
    watch = Containment(probe_images=images)
    for fgsm in (best, 3 * best / 2):
        epochs = history((best, best, 0.9), (fgsm, 0.0, 0.6), (fgsm, 0.0, 0.6))
        assert collapsed(epochs, watch, images)


@pytest.mark.parametrize("images", [64, 256, 1024])
@pytest.mark.parametrize("accuracy", [0.01, 0.02, 0.05, 0.15, 0.5])
def test_the_probes_noise_is_no_collapse(accuracy, images):
    """Accuracies that only scatter, FGSM's with PGD's, for a hundred epochs of which each second
    one has a loss that bends."""
    rng = torch.Generator().manual_seed(0)
    shown = torch.rand(100, images, generator=rng) < accuracy
    epochs = [
        (pgd.item(), pgd.item(), cosine)
        for pgd, cosine in zip(shown.double().mean(1), [0.9, 0.1] * 50, strict=True)
    ]
    watch = Containment(probe_images=images, fall=0.001, gap=0.001, patience=2)
    assert not any(collapsed(history(*epochs[:n]), watch, images) for n in range(1, 101))


@pytest.mark.parametrize(("best", "images"), [(0.15, 256), (0.5, 1024), (0.02, 256)])
def test_noise_is_three_standard_errors(best, images):
    expected = 3 * (best * (1 - best) / images) ** 0.5
    assert noise(best, images) == pytest.approx(expected)
    assert (noise(best, images) < best) is (best > 9 / (images + 9))


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        ([], False),
        (RISE, False),
        ([*RISE, BOTH], False),
        ([*RISE, BOTH, BOTH], True),
        ([*RISE, GAP, BEND], True),
        ([*RISE, BOTH, RISE[1], BOTH], False),
        ([*RISE, FALL, FALL], False),
        ([*RISE, RISING, RISING], False),
        ([*RISE, GAP, FALL], False),
        ([(0.9, 0.1, 0.8), (0.95, 0.05, 0.1), (0.99, 0.0, 0.1)], True),
        ([(0.9, 0.0005, 0.8), (0.95, 0.0, 0.1), (0.99, 0.0, 0.1)], False),
    ],
    ids=[
        "nothing yet",
        "healthy",
        "one hit may pass",
        "two hits in a row",
        "by one sign, then by the other",
        "a passing collapse",
        "PGD and FGSM fall together",
        "false alarms",
        "a hit, then a fall alone",
        "a little robustness, lost",
        "never was robust: nothing to fall from",
    ],
)
def test_a_collapse_is_patience_hits_in_a_row(epochs, expected):
    assert collapsed(history(*epochs), WATCH, 10_000) is expected


def test_only_watched_trainings_collapse():
    assert not collapsed(history(*RISE, BOTH, BOTH), None, 10_000)


@pytest.mark.parametrize(
    ("held_out", "watched", "expected"),
    [(10_000, 256, True), (256, 10_000, True), (30, 256, False), (10_000, 30, False)],
)
def test_the_noise_is_that_of_the_images_that_are_probed(held_out, watched, expected):
    """PGD accuracy falls from 0.5 to 0.25, FGSM's soars: on 30 images that is noise, three standard
    errors being 0.27; on 256 they are 0.09. A task may hold out fewer than are asked for."""
    epochs = history((0.5, 0.5, 0.8), (0.9, 0.25, 0.8))
    watch = Containment(patience=1, probe_images=watched)
    assert hit(epochs, watch, held_out) is expected
    assert collapsed(epochs, watch, held_out) is expected


def grey(count, side=1):
    """Grey images of the one brightness 128."""
    return Images(
        torch.full((count, 1, side, side), 128, dtype=torch.uint8), torch.arange(count) % 2
    )


class Valley(nn.Module):
    """Logits (|x - bottom|, 0) of one-pixel images: the slope's sign flips at the bottom."""

    def __init__(self, bottom):
        super().__init__()
        self.bottom = nn.Parameter(torch.tensor(bottom))

    def forward(self, x):
        height = (x.flatten(1) - self.bottom).abs()
        return torch.cat([height, torch.zeros_like(height)], 1)


class Sure(nn.Module):
    """Logits whose difference the image changes by `slope` a pixel."""

    def __init__(self, slope):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x):
        height = self.slope * x.flatten(1).sum(1, keepdim=True)
        return torch.cat([height, torch.zeros_like(height)], 1)


def test_the_cosine_of_a_linear_model_is_1(stripes):
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    assert gradient_cosine(linear, stripes.val, 0.1, 0) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("distance", "cosine"), [(0.0, 0.0), (0.05, 0.5), (0.15, 1.0)])
def test_the_cosine_where_the_slope_flips(distance, cosine):
    # Images stand `distance` beside the bottom. Noise uniform in +-0.1 crosses it with probability
    # (0.1 - distance) / 0.2, where the cosine is -1; otherwise it is 1.
    found = gradient_cosine(Valley(128 / 255 - distance), grey(4096), 0.1, 0)
    assert found == pytest.approx(cosine, abs=0.05)


def test_the_cosine_of_a_gradient_that_vanishes_is_0(stripes):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    nn.init.zeros_(flat[1].weight)
    assert gradient_cosine(flat, stripes.val, 0.1, 0) == 0


@pytest.mark.parametrize("sure", [1e-15, 1e-25, 1e-35])
def test_the_cosine_does_not_depend_on_how_small_slopes_are(stripes, sure):
    """Those of a network that is sure of itself: their squares are 0 in float32."""
    found = gradient_cosine(Sure(sure), stripes.val, 0.1, 0)
    assert found == pytest.approx(1, abs=1e-3)


def test_the_cosine_is_its_seeds(net, stripes):
    found = [gradient_cosine(net, stripes.val, 0.1, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_a_probe_leaves_the_network_as_it_was(net, stripes):
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fgsm = Attack(kind="fgsm", epsilon=0.1, alpha=0.125)
    probe(net, stripes.val, fgsm, Containment(), 0)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_a_probe_sees_its_first_images_only(net, stripes):
    fgsm = Attack(kind="fgsm", epsilon=0.1, alpha=0.125)
    few = probe(net, stripes.val, fgsm, Containment(probe_images=16), 0)
    assert few == probe(net, stripes.val[:16], fgsm, Containment(), 0)
    assert few != probe(net, stripes.val, fgsm, Containment(), 0)
