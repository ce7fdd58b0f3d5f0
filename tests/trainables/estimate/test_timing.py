"""Steps are timed by the real loop and the real evaluation."""

import pytest
import torch

from search_spaces.regimes import Attack, Recipe, Regime
from search_spaces.spec import Model
from trainables.estimate import timing
from trainables.estimate.steps import ATTACKED, Step
from trainables.models import networks

NET = {"model": Model(arch="resnet8", width=4), "size": 8, "channels": 1}
PLAIN = Regime(recipe=Recipe(epochs=1, lr=0.01))
PGD = PLAIN.model_copy(update={"attack": Attack(kind="pgd", epsilon=0.1, alpha=0.1, steps=7)})


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(timing, "SECONDS_A_STEP", 0.1)


def timed(**of):
    return timing.seconds(Step(**NET, **of), torch.device("cpu"))


def test_more_work_takes_longer():
    (few, parameters), (many, _), (attacked, _) = (
        timed(images=images, regime=regime)
        for images, regime in ((8, PLAIN), (256, PLAIN), (256, PGD))
    )
    assert 0 < few < many < attacked
    net = networks.build(NET["model"], 10, (0.5,), (0.5,), 0)
    assert parameters == sum(p.numel() for p in net.parameters())


def test_evaluating_under_attack_takes_longer_than_clean():
    (clean, _), (attacked, _) = (timed(images=256, attack=attack) for attack in (None, ATTACKED))
    assert 0 < 2 * clean < attacked


def test_a_batch_beyond_what_is_timed_counts_in_proportion(monkeypatch):
    monkeypatch.setitem(timing.PIXELS, "cpu", 8 * 64)
    (one, _), (thousand, _) = (timed(images=images, regime=PLAIN) for images in (8, 8000))
    assert thousand > 100 * one
