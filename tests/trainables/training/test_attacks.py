"""Attacks: inside their ball, against a closed form, and leaving the model as it was."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from search_spaces.regimes import Attack
from trainables.runtime.seeding import generator
from trainables.training import attacks

EPSILON = 0.1
ATTACKS = [
    Attack(kind="fgsm", epsilon=EPSILON, alpha=0.125),
    Attack(kind="n_fgsm", epsilon=EPSILON, alpha=EPSILON),
    Attack(kind="pgd", epsilon=EPSILON, alpha=0.03, steps=7),
]


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(1)
    return torch.rand(32, 1, 8, 8, generator=rng), torch.randint(0, 2, (32,), generator=rng)


def attacked(model, batch, attack, seed=0):
    return attacks.perturb(model, *batch, attack, generator(seed, "test"))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.kind)
def test_stays_in_its_ball_and_in_the_pixel_range(net, batch, attack):
    x = attacked(net.eval(), batch, attack)
    radius = EPSILON if attack.kind != "n_fgsm" else 3 * EPSILON
    assert (x - batch[0]).abs().max() <= radius + 1e-6
    assert x.min() >= 0 and x.max() <= 1
    assert x.shape == batch[0].shape and not x.requires_grad


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.kind)
def test_raises_the_loss(net, batch, attack):
    net.eval()
    before = F.cross_entropy(net(batch[0]), batch[1])
    after = F.cross_entropy(net(attacked(net, batch, attack)), batch[1])
    assert after > before


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.kind)
@pytest.mark.parametrize("training", [True, False])
def test_leaves_gradients_and_mode_alone(net, batch, attack, training):
    net.train(training)
    F.cross_entropy(net(batch[0]), batch[1]).backward()
    frozen = net.conv1.weight.requires_grad_(False)
    before = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    attacked(net, batch, attack)
    assert all(torch.equal(p.grad, before[n]) for n, p in net.named_parameters() if n in before)
    assert net.training is training
    assert not frozen.requires_grad
    assert all(p.requires_grad for p in net.parameters() if p is not frozen)


@pytest.mark.parametrize(("training", "moves"), [(True, True), (False, False)])
def test_batchnorm_statistics_move_in_train_mode_only(net, batch, training, moves):
    net.train(training)
    before = net.bn1.running_mean.clone()
    attacked(net, batch, ATTACKS[2])
    assert (not torch.equal(net.bn1.running_mean, before)) is moves


def test_a_failing_model_does_not_stay_frozen(net, batch):
    wrong = torch.rand(2, 3, 8, 8)
    with pytest.raises(RuntimeError):
        attacks.perturb(net, wrong, batch[1][:2], ATTACKS[2], generator(0, "test"))
    assert all(p.requires_grad for p in net.parameters())


def test_the_generator_decides(net, batch):
    net.eval()
    first, same, other = (attacked(net, batch, ATTACKS[2], seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


class Linear(nn.Module):
    """Two classes from one pixel: the worst image in the ball is known in closed form."""

    def forward(self, x):
        score = x.flatten(1).sum(1, keepdim=True)
        return torch.cat([score, -score], 1)


def test_pgd_reaches_the_corner_of_the_ball_on_a_linear_model():
    x = torch.tensor([0.5, 0.5, 0.02, 0.98]).view(4, 1, 1, 1)
    y = torch.tensor([0, 1, 0, 1])
    attack = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=5)
    worst = attacks.perturb(Linear(), x, y, attack, generator(0, "test"))
    assert worst.flatten().tolist() == pytest.approx([0.4, 0.6, 0.0, 1.0])


def test_fgsm_is_one_step_of_pgd(net, batch):
    net.eval()
    one = Attack(kind="pgd", epsilon=EPSILON, alpha=0.125, steps=1)
    assert torch.equal(attacked(net, batch, ATTACKS[0]), attacked(net, batch, one))


def test_n_fgsm_is_noise_plus_one_step(net, batch):
    """de Jorge et al. 2022 and their code: x + eta + alpha * sign(gradient at x + eta), eta in
    [-2 eps, 2 eps] clipped so that x + eta is an image."""
    net.eval()
    x, y = batch
    noise = torch.empty_like(x).uniform_(-0.2, 0.2, generator=generator(0, "test"))
    start = (x + noise).clamp(0, 1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(start), y), start)
    expected = (start + EPSILON * gradient.sign()).clamp(0, 1).detach()
    torch.testing.assert_close(attacked(net, batch, ATTACKS[1]), expected)


def iterates(model, x, y, attack, rng):
    """(N,) bool, in the plainest way: is every iterate of PGD classified correctly?"""
    low, high = (x - attack.epsilon).clamp(min=0), (x + attack.epsilon).clamp(max=1)
    now = (x + attacks.uniform(x, attack.epsilon, rng)).clamp(0, 1)
    right = model(now).argmax(1) == y
    for _ in range(attack.steps):
        slope, _ = attacks.gradient(model, now, y)
        now = torch.clamp(now + attack.alpha * slope.sign(), low, high)
        right &= model(now).argmax(1) == y
    return right


@pytest.mark.parametrize("size", [1, 5, 16, 1000])
def test_withstood_are_those_whose_every_iterate_is_right(net, size):
    """However many are attacked at a time, in whatever batches they come."""
    net.eval()
    rng = generator(0, "images")
    sizes = (20, 0, 7, 33)
    batches = [(torch.rand(n, 1, 8, 8, generator=rng), torch.arange(n) % 2) for n in sizes]
    attack = Attack(kind="pgd", epsilon=0.02, alpha=0.01, steps=4)
    right = [
        iterates(net, x, y, attack, generator(number, "test"))
        for number, (x, y) in enumerate(batches)
    ]
    expected = torch.cat(right).nonzero().flatten()
    assert 5 < len(expected) < 30, "some withstand it, some do not"
    arriving = ((x, y, generator(n, "test")) for n, (x, y) in enumerate(batches))
    assert torch.equal(attacks.survivors(net, arriving, attack, size), expected)


def test_withstood_is_exact_on_a_linear_model_and_empty_of_nothing():
    x, y = torch.tensor([0.05, 0.15]).view(2, 1, 1, 1), torch.tensor([1, 1])
    attack = Attack(kind="pgd", epsilon=0.1, alpha=0.1, steps=3)
    arriving = [(x, y, generator(0, "test"))]
    assert attacks.survivors(_Threshold(), arriving, attack, 8).tolist() == [1]
    assert attacks.survivors(_Threshold(), [], attack, 8).tolist() == []


class _Threshold(Linear):
    """Class 1 while the pixel is above 0.02."""

    def forward(self, x):
        return super().forward(x - 0.02).flip(1)
