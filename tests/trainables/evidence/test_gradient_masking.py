"""Signs of masked gradients: the decision on made-up records, and a network that masks them."""

import pytest
import torch
from torch import nn

from search_spaces.regimes import Recipe, Regime
from trainables.evidence.gradient_masking import (
    check_flags,
    excess,
    flags,
    warnings_flag,
    zero_gradients,
)
from trainables.training.loop import fit


def right(share, n=1000):
    """The first images are correct."""
    return torch.arange(n) < share * n


SOUND = {
    "clean": right(0.9),
    "white_box": right(0.4),
    "pgd_1": right(0.6),
    "pgd_5": right(0.5),
    "pgd_20": right(0.42),
    "huge": right(0.0),
    "black_box": right(0.7),
}


def raised(zero=0.0, **changes):
    return [flag.flag for flag in flags({**SOUND, **changes}, zero)]


def test_a_sound_network_raises_nothing():
    assert raised() == []


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"black_box": right(0.3)}, "black_box_beats_white_box"),
        ({"pgd_20": right(0.55)}, "more_steps_are_weaker"),
        ({"pgd_1": right(0.4)}, "more_steps_are_weaker"),
        ({"huge": right(0.06)}, "huge_epsilon_fails"),
        ({"zero": 0.02}, "zero_gradients"),
    ],
)
def test_each_sign_raises_its_flag(changes, flag):
    assert raised(**changes) == [flag]


@pytest.mark.parametrize(
    "changes",
    [{"black_box": right(0.395)}, {"pgd_20": right(0.505)}, {"huge": right(0.05)}, {"zero": 0.01}],
)
def test_noise_raises_nothing(changes):
    """A gap of 5 images of 1,000 is 2.2 standard errors."""
    assert raised(**changes) == []


def test_the_gap_and_its_error_by_hand():
    gap, error = excess(right(0.3, 10), right(0.5, 10))
    assert gap == pytest.approx(0.2)
    # Two of ten differences are 1: variance 0.2 x 0.8.
    assert error == pytest.approx((0.16 / 10) ** 0.5)


def test_a_flag_says_what_broke_which_rule():
    (flag,) = flags({**SOUND, "black_box": right(0.3)}, 0.0)
    assert flag.numbers["black_box"] == 0.3 and flag.numbers["white_box"] == 0.4
    assert flag.numbers["gap"] == pytest.approx(0.1)
    assert "white_box" in flag.rule and "black_box" in flag.rule


def test_without_another_network_there_is_no_black_box():
    assert flags({k: v for k, v in SOUND.items() if k != "black_box"}, 0.0) == []


def test_autoattacks_warnings_are_quoted():
    assert warnings_flag([], 1000) == []
    (flag,) = warnings_flag(["Square Attack has decreased", "randomized defense"], 1000)
    assert flag.flag == "autoattack_warns"
    assert "Square Attack has decreased | randomized defense" in flag.rule


def test_one_image_of_few_is_no_sign():
    """The library warns of 0.2 points: on 50 images a single one is 2."""
    assert warnings_flag(["Square Attack has decreased"], 50) == []
    (flag,) = warnings_flag(["Square Attack has decreased", "zero gradient"], 50)
    assert flag.rule == "AutoAttack says: zero gradient"


def test_a_transfers_own_checks_are_heard():
    record = {"attacked": right(0.4), "check.0": right(0.5, 100), "check.1": right(1.0, 100)}
    quiet = {"kind": "autoattack", "images": 100, "warnings": []}
    other = {"kind": "transfer_attack", "images": 100, "warnings": []}
    assert check_flags([quiet, other], record) == []
    # The first 100 of 1,000 images all withstand the evaluation's attack.
    (flag,) = check_flags([other], record)
    assert flag.flag == "black_box_beats_white_box" and flag.numbers["white_box"] == 1.0
    warned = {"kind": "autoattack", "images": 100, "warnings": ["odd"]}
    assert [f.flag for f in check_flags([warned], record)] == ["autoattack_warns"]


class Steep(nn.Module):
    """Logits so large that the loss's gradient vanishes: the simplest masking."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 1e4 * self.inner(x)


def test_a_network_that_masks_has_zero_gradients(net, stripes):
    list(fit(net, stripes, Regime(recipe=Recipe(epochs=4, batch_size=16, lr=0.05)), 0))
    net.eval()
    assert zero_gradients(net, stripes.test) == 0
    assert zero_gradients(Steep(net).eval(), stripes.test) > 0.5
