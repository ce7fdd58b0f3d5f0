"""The precision of training: float32 unless asked, recorded, and float32 again in evaluation."""

import pytest
import torch

from search_spaces.errors import InputError
from search_spaces.regimes import Attack, Recipe, Regime
from trainables.runtime.precision import VARIABLE, autocast, precision
from trainables.store.records import now, provenance
from trainables.training.evaluation import evaluate
from trainables.training.loop import fit

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=2)
REGIME = Regime(recipe=Recipe(epochs=4, batch_size=16, lr=0.05), attack=PGD)


def trained(net, stripes):
    """(losses of the epochs, types of the convolutions' outputs in training and in evaluation)."""
    types = []
    net.conv1.register_forward_hook(lambda _, __, out: types.append(out.dtype))
    losses = [epoch.loss for epoch in fit(net, stripes, REGIME, seed=0)]
    in_training, types[:] = set(types), []
    net.conv1._forward_hooks.clear()
    evaluated = evaluate(net, stripes.test, PGD)
    return losses, in_training, evaluated


def test_training_is_in_float32_unless_asked(net, stripes, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert precision() == "float32"
    assert trained(net, stripes)[1] == {torch.float32}
    assert provenance(now(), torch.device("cpu"))["precision"] == "float32"


def test_bf16_trains_as_well_and_is_recorded(net, stripes, monkeypatch):
    monkeypatch.setenv(VARIABLE, "bf16")
    losses, types, evaluated = trained(net, stripes)
    assert types == {torch.bfloat16}
    assert losses[-1] < 0.8 * losses[0]
    assert evaluated.scores.sa >= 0.9
    assert all(p.dtype == torch.float32 for p in net.parameters())
    assert provenance(now(), torch.device("cpu"))["precision"] == "bf16"


def test_the_setting_takes_what_cuda_takes(monkeypatch):
    """No GPU is needed to make the context that one would be given."""
    monkeypatch.setenv(VARIABLE, "bf16")
    context = autocast(torch.device("cuda"))
    assert (context.device, context.fast_dtype) == ("cuda", torch.bfloat16)


def test_anything_else_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "fp8")
    with pytest.raises(InputError, match="DOUBLE_WIN_PRECISION=fp8: takes float32 or bf16"):
        precision()
