"""Criteria against their formulas, written out in another way."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from tests.conftest import striped
from trainables.pruning import criteria
from trainables.pruning.masks import ones
from trainables.runtime.seeding import generator


@pytest.fixture
def batches():
    images = striped(24, 0)
    x, y = images.pixels().double(), images.y
    return [(x[:16], y[:16]), (x[16:], y[16:])]


@pytest.fixture
def eager(net):
    return net.double().eval()


def test_snip_is_the_slope_in_what_weights_are_multiplied_by(eager, batches):
    """Lee et al. 2019, equation 4: |dL(c w)/dc| at c = 1, over all images at once."""
    weights = {n: p.detach() for n, p in eager.named_parameters()}
    c = {n: torch.ones_like(weights[n], requires_grad=True) for n in ones(eager)}
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    loss = F.cross_entropy(
        functional_call(eager, {**weights, **{n: c[n] * weights[n] for n in c}}, x), y
    )
    slopes = dict(zip(c, torch.autograd.grad(loss, list(c.values())), strict=True))
    scores = criteria.snip(eager, batches, generator(0, "x"))
    for name, slope in slopes.items():
        torch.testing.assert_close(scores[name], slope.abs(), rtol=1e-9, atol=1e-12)
    assert all(p.grad is None for p in eager.parameters())


def test_grasp_is_the_hessian_times_the_gradient():
    """Against the whole Hessian of a small network with smooth units."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)).double()
    x, y = torch.rand(6, 1, 4, 4, dtype=torch.float64), torch.arange(6) % 2
    shapes = {n: p.shape for n, p in net.named_parameters()}

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        state = {n: p.view(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}
        return F.cross_entropy(functional_call(net, state, x) / 200, y)

    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    hessian = torch.autograd.functional.hessian(loss, flat)
    slope = torch.autograd.functional.jacobian(loss, flat)
    expected = flat * (hessian @ slope)
    scores = criteria.grasp(net, [(x[:4], y[:4]), (x[4:], y[4:])], generator(0, "x"))
    ours = torch.cat([scores[name].flatten() for name in shapes])
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-18)
    # What it is for: removing a weight changes the gradient's squared norm by -2 times its score.
    step = 1e-6
    place = int(expected.abs().argmax())
    moved = flat.clone()
    moved[place] *= 1 - step
    after = torch.autograd.functional.jacobian(loss, moved)
    change = (after @ after - slope @ slope) / step
    torch.testing.assert_close(change, -2 * ours[place], rtol=1e-3, atol=0.0)


def test_synflow_of_a_chain_is_the_sum_over_paths():
    """|w_ij| (what comes in at j) (what goes on from i), for two layers of numbers written out."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
        net[2].weight.copy_(torch.tensor([[-5.0, 7.0]]))
    before = copy.deepcopy(net.state_dict())
    scores, entering = criteria.flow(net, (2,))
    assert scores["0.weight"].tolist() == [[5.0, 10.0], [21.0, 0.0]]
    assert scores["2.weight"].tolist() == [[15.0, 21.0]]
    assert entering.tolist() == [[26.0, 10.0]]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_synflow_conserves_flow_where_layers_follow_each_other(eager):
    """Tanaka et al. 2020, theorem 1: what flows through every cut is the same. The stem and the
    head are cuts of a residual network."""
    scores, _ = criteria.flow(eager, (1, 8, 8))
    assert scores["conv1.weight"].sum() > 0
    torch.testing.assert_close(scores["conv1.weight"].sum(), scores["fc.weight"].sum())


def test_synflow_needs_no_labels_and_no_images(eager, batches):
    other = [(1 - x, 1 - y) for x, y in batches]
    first, second = (criteria.synflow(eager, d, generator(0, "x")) for d in (batches, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", [*criteria.CRITERIA])
def test_every_criterion_scores_all_that_is_pruned_and_changes_nothing(eager, batches, method):
    before = copy.deepcopy(eager.state_dict())
    scores = criteria.CRITERIA[method](eager, batches, generator(0, "x"))
    for name, mask in ones(eager).items():
        assert scores[name].shape == mask.shape
        assert scores[name].isfinite().all() and len(scores[name].unique()) > 1
    assert all(torch.equal(value, before[name]) for name, value in eager.state_dict().items())
    assert not eager.training and all(p.grad is None for p in eager.parameters())
