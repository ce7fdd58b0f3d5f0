"""Adversarial weight perturbation against the authors' arithmetic, re-derived."""

import copy

import torch
from torch.nn import functional as F

from search_spaces.regimes import Attack, Awp, Recipe, Regime
from trainables.pruning import masks
from trainables.runtime.seeding import generator
from trainables.training.loop import fit, snapshot
from trainables.training.perturbation import perturbed
from trainables.training.step import gradients

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=2)
X = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(16) % 2


def loss(net):
    return F.cross_entropy(net(X), Y)


def test_weights_move_as_after_the_authors_proxy_step(net):
    """A copy takes a step of SGD up the loss; each weight's change is then scaled to gamma times
    the weight's norm (their diff_in_weights)."""
    net.train()
    proxy = copy.deepcopy(net)
    optimizer = torch.optim.SGD(proxy.parameters(), lr=0.01)
    (-loss(proxy)).backward()
    optimizer.step()
    before, after = dict(net.named_parameters()), dict(proxy.named_parameters())
    expected = {}
    for name, old in before.items():
        change = after[name].detach() - old.detach()
        scaled = old.detach().norm() / (change.norm() + 1e-20) * change
        expected[name] = old.detach() + (0.02 * scaled if old.dim() > 1 else 0)
    at_first = loss(copy.deepcopy(net)).item()
    with perturbed(net, loss, 0.02, {}):
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-3, atol=2e-4)
        assert loss(copy.deepcopy(net)).item() > at_first


def test_afterwards_nothing_has_moved(net):
    net.train()
    before = copy.deepcopy(net.state_dict())
    with perturbed(net, loss, 0.02, {}):
        pass
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_steps_gradient_is_that_at_the_perturbed_weights(net):
    net.train()
    regime = Regime(recipe=Recipe(epochs=1, lr=0.1), awp=Awp(gamma=0.05))
    gradients(net, X, Y, regime, generator(0, "x"))
    ours = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    with perturbed(net, loss, 0.05, {}):
        loss(net).backward()
    for own, parameter in zip(ours, net.parameters(), strict=True):
        torch.testing.assert_close(own, parameter.grad)


def test_what_a_mask_prunes_stays_zero(net):
    mask = masks.random(masks.ones(net), 150, generator(0, "mask"))
    kept = masks.factors(net, mask)
    masks.apply_(net, kept)
    with perturbed(net, loss, 0.5, kept):
        weights = dict(net.named_parameters())
        assert not any(weights[name][~m].any() for name, m in mask.items())


def test_it_begins_with_its_first_epoch(net, stripes):
    recipe = Recipe(epochs=2, lr=0.05, batch_size=16)

    def losses(awp):
        model = copy.deepcopy(net)
        epochs = list(fit(model, stripes, Regime(recipe=recipe, attack=PGD, awp=awp), 0))
        return [epoch.loss for epoch in epochs], snapshot(model)

    (plain, _), (late, state), (early, _) = (losses(a) for a in (None, Awp(start=2), Awp()))
    assert late[0] == plain[0] and late[1] != plain[1]
    assert early[0] != plain[0]
    assert all(value.isfinite().all() for value in state.values())
