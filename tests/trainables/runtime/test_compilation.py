"""Compiled training: the same up to rounding, recorded, and off unless asked."""

import copy

import pytest
import torch

from search_spaces.errors import InputError
from search_spaces.regimes import Attack, Recipe, Regime
from trainables.pruning import masks
from trainables.runtime.compilation import VARIABLE, compilation
from trainables.runtime.seeding import generator
from trainables.store.records import now, provenance
from trainables.training.evaluation import evaluate
from trainables.training.loop import fit

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=2)
REGIME = Regime(recipe=Recipe(epochs=1, batch_size=16, lr=0.05), attack=PGD)


def recorded() -> str:
    return str(provenance(now(), torch.device("cpu"))["compilation"])


def test_a_compiled_training_is_the_same_up_to_rounding(net, stripes, monkeypatch):
    full = masks.ones(net)
    mask = masks.random(full, masks.counts(full)[1] // 2, generator(0, "mask"))
    first, second, third = (copy.deepcopy(net) for _ in range(3))

    def trained(model):
        (epoch,) = fit(model, stripes, REGIME, seed=0, mask=mask)
        return epoch

    plain = trained(net)
    monkeypatch.setenv(VARIABLE, "default")
    refusing = torch.compiler.set_stance("fail_on_recompile")
    with refusing, pytest.raises(RuntimeError, match="fail_on_recompile"):
        trained(first)
    compiled = trained(second)
    # The next training in this process takes what was compiled for this one.
    with refusing:
        assert trained(third).loss == compiled.loss
    assert compiled.loss == pytest.approx(plain.loss, rel=1e-4)
    weights = second.state_dict()
    assert weights.keys() == net.state_dict().keys()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-4)
    assert all((weights[name][~kept] == 0).all() for name, kept in mask.items())
    evaluated = [evaluate(model, stripes.test, PGD) for model in (net, second)]
    assert torch.equal(evaluated[0].clean, evaluated[1].clean)
    assert recorded() == "default"


def test_nothing_is_compiled_unless_asked(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert compilation() == recorded() == "off"


def test_anything_else_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "yes")
    with pytest.raises(InputError, match="COMPILE=yes: takes off, default or reduce-overhead"):
        compilation()
