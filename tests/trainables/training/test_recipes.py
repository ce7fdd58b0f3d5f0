"""Optimisers, warm-up and clipping of a recipe, each against its update written out."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from search_spaces.regimes import Cosine, Recipe, Regime
from trainables.pruning.masks import apply_, factors, ones, prune_by_magnitude
from trainables.runtime.seeding import generator
from trainables.training.recipes.optimizers import optimizer_of
from trainables.training.recipes.schedule import learning_rate
from trainables.training.step import train_step

X = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(16) % 2


def recipe(**more):
    return Recipe(epochs=4, lr=0.05, batch_size=16, **more)


def test_adamw_is_its_formula_and_keeps_to_the_mask(net):
    net.train()
    mask = prune_by_magnitude(dict(net.named_parameters()), ones(net), 100)
    kept, how = factors(net, mask), recipe(optimizer="adamw", weight_decay=0.1, momentum=0.8)
    apply_(net, kept)
    other, optimizer = copy.deepcopy(net), optimizer_of(net, how)
    m = {n: torch.zeros_like(p) for n, p in other.named_parameters()}
    v = {n: torch.zeros_like(p) for n, p in other.named_parameters()}
    for t in range(1, 4):
        train_step(net, optimizer, kept, X, Y, Regime(recipe=how), generator(0, "x"))
        other.zero_grad()
        F.cross_entropy(other(X), Y).backward()
        with torch.no_grad():
            for name, p in other.named_parameters():
                m[name] = 0.8 * m[name] + 0.2 * p.grad
                v[name] = 0.999 * v[name] + 0.001 * p.grad**2
                step = (m[name] / (1 - 0.8**t)) / ((v[name] / (1 - 0.999**t)).sqrt() + 1e-8)
                p.copy_(p - 0.05 * 0.1 * p - 0.05 * step)
                if name in mask:
                    p.mul_(mask[name])
    for (name, value), expected in zip(net.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)
        if name in mask:
            assert not value[~mask[name]].any()


@pytest.mark.parametrize("longest", [0.01, 1e6])
def test_clipping_shortens_the_gradient_of_what_is_kept(net, longest):
    net.train()
    mask = prune_by_magnitude(dict(net.named_parameters()), ones(net), 100)
    kept, how = factors(net, mask), recipe(clip=longest, momentum=0.0, weight_decay=0.0)
    apply_(net, kept)
    before, twin = copy.deepcopy(net.state_dict()), copy.deepcopy(net)
    optimizer = optimizer_of(net, how)
    train_step(net, optimizer, kept, X, Y, Regime(recipe=how), generator(0, "x"))
    F.cross_entropy(twin(X), Y).backward()
    slopes = {n: p.grad * mask[n] if n in mask else p.grad for n, p in twin.named_parameters()}
    length = torch.cat([slope.flatten() for slope in slopes.values()]).norm()
    factor = min(1.0, longest / length.item())
    for name, value in net.named_parameters():
        expected = before[name] - 0.05 * factor * slopes[name]
        torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-6)


def test_warm_up_rises_to_what_the_schedule_says():
    how = recipe(warmup=2, schedule=Cosine(kind="cosine"))
    rates = [learning_rate(how, step, 5) for step in range(20)]
    plain = [learning_rate(recipe(schedule=Cosine(kind="cosine")), step, 5) for step in range(20)]
    assert rates[10:] == plain[10:]
    assert rates[:10] == pytest.approx([p * (s + 1) / 10 for s, p in enumerate(plain[:10])])


def test_a_warm_up_that_does_not_end_is_refused():
    with pytest.raises(ValidationError, match="warmup takes 4 of 4 epochs"):
        recipe(warmup=4)
