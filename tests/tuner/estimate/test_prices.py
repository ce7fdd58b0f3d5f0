"""Prices of steps: timed once in processes of their own, kept in the cache by machine."""

from dataclasses import replace

import pytest

from search_spaces.regimes import Recipe, Regime
from search_spaces.spec import Model
from trainables.estimate.steps import Step
from tuner.cluster.capacity import Capacity
from tuner.estimate import prices

NET = {"model": Model(arch="resnet8", width=4), "size": 8, "channels": 1}
REGIME = Regime(recipe=Recipe(epochs=1, lr=0.01))
STEPS = [Step(**NET, images=16, regime=REGIME), Step(**NET, images=64)]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def where():
    return prices.machine(Capacity(cpus=2, gpus=0, workers=1, trial_cpus=1, trial_gpus=0))


def test_what_was_timed_is_known_on_this_machine_and_no_other(where, cache):
    assert prices.known(STEPS, where) == {}
    timed = prices.timed(STEPS, where)
    assert list(timed) == STEPS
    assert all(price.seconds > 0 and price.parameters > 1000 for price in timed.values())
    assert prices.known(STEPS, where) == timed
    for changed in ({"processor": "other"}, {"torch": "1.0"}, {"copies": 1}, {"gpus": ("H100",)}):
        assert prices.known(STEPS, replace(where, **changed)) == {}
    for content in ("", "{", "[]", "{}", '{"prices": {"a": 1}}'):
        (file,) = cache.rglob("*.json")
        file.write_text(content)
        assert prices.known(STEPS, where) == {}


def test_what_cannot_be_timed_is_left_out(where):
    wrong = Step(**{**NET, "channels": 0}, images=64)
    assert list(prices.timed([STEPS[1], wrong, STEPS[0]], where)) == STEPS[1:]
