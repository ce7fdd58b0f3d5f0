"""Landscapes and paths of losses that are known exactly."""

import numpy as np
import pytest
import torch

from trainables.evidence.landscape import filter_normalised, mean_rise, surface, top_eigenvalue
from trainables.evidence.retraining import principal

LINE = [float(v) for v in np.linspace(-1, 1, 9)]


def quadratic(curvatures):
    """0.5 sum_i c_i w_i^2 of one named weight vector."""
    c = torch.tensor(curvatures, dtype=torch.float64)

    def loss(weights):
        return 0.5 * (c * weights["w"] ** 2).sum()

    return loss


def axes(n):
    unit = torch.eye(n, dtype=torch.float64)
    return {"w": unit[0]}, {"w": unit[1]}


def test_the_surface_of_a_quadratic_is_exact():
    loss = quadratic([3.0, 5.0, 7.0])
    centre = {"w": torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64)}
    x, y = LINE, LINE[:4]
    found = surface(lambda w: [loss(w).item(), 2 * loss(w).item()], centre, axes(3), x, y)
    a, b = np.meshgrid(x, y)
    expected = 0.5 * (3 * a**2 + 5 * b**2) + 14
    assert found.shape == (2, 4, 9)
    np.testing.assert_allclose(found[0], expected, atol=1e-12)
    np.testing.assert_allclose(found[1], 2 * expected, atol=1e-12)


def test_flatness_of_a_quadratic_is_exact():
    line = [float(v) for v in np.linspace(-1, 1, 401)]
    a, b = np.meshgrid(line, line)
    bowl = 4.0 + 0.5 * (3 * a**2 + 5 * b**2)
    for radius in (0.25, 0.5, 1.0):
        rise = mean_rise(bowl, line, line, radius)
        assert rise == pytest.approx(radius**2 * (3 + 5) / 8, rel=0.02)
    inside = a**2 + b**2 <= 0.25 + 1e-9
    assert mean_rise(bowl, line, line, 0.5) == pytest.approx(bowl[inside].mean() - 4.0, abs=1e-12)


def test_a_plane_is_flat_and_needs_its_middle():
    assert mean_rise(np.full((9, 9), 3.0), LINE, LINE, 0.5) == 0.0
    with pytest.raises(ValueError, match=r"no point at \(0, 0\)"):
        mean_rise(np.zeros((2, 9)), LINE, [0.5, 1.0], 0.5)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [([1, 1, 1, 1], 6.0), ([1, 1, 0, 1], -4.0), ([1, 1, 0, 0], 2.0)],
    ids=["all", "the largest pruned", "the two largest pruned"],
)
def test_the_top_eigenvalue_is_that_of_the_kept_weights(kept, expected):
    loss = quadratic([1.0, 2.0, 6.0, -4.0])
    weights = {"w": torch.zeros(4, dtype=torch.float64, requires_grad=True)}
    mask = {"w": torch.tensor(kept, dtype=torch.bool)}
    rng = torch.Generator().manual_seed(0)
    assert top_eigenvalue(lambda: loss(weights), weights, mask, rng) == pytest.approx(
        expected, rel=0.01
    )


def test_the_top_eigenvalue_is_numpys():
    rng = torch.Generator().manual_seed(1)
    half = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    hessian = half @ half.T
    weights = {
        "a": torch.zeros(2, dtype=torch.float64, requires_grad=True),
        "b": torch.zeros(2, 2, dtype=torch.float64, requires_grad=True),
    }

    def loss():
        flat = torch.cat([w.flatten() for w in weights.values()])
        return 0.5 * flat @ hessian @ flat

    expected = np.linalg.eigvalsh(hessian.numpy())[-1]
    assert top_eigenvalue(loss, weights, {}, rng) == pytest.approx(expected, rel=0.01)


def test_directions_have_each_filters_norm_and_spare_pruned_weights(net):
    weights = dict(net.named_parameters())
    mask = {"conv1.weight": torch.rand(weights["conv1.weight"].shape) < 0.5}
    mask["conv1.weight"][0] = False
    with torch.no_grad():
        weights["conv1.weight"][~mask["conv1.weight"]] = 0
    found = filter_normalised(weights, mask, torch.Generator().manual_seed(0))
    for name, w in weights.items():
        if w.dim() < 2:
            assert not found[name].any()
            continue
        torch.testing.assert_close(found[name].flatten(1).norm(dim=1), w.flatten(1).norm(dim=1))
    assert not found["conv1.weight"][~mask["conv1.weight"]].any()
    again = filter_normalised(weights, mask, torch.Generator().manual_seed(1))
    assert not torch.equal(found["fc.weight"], again["fc.weight"])


def test_a_path_in_a_plane_is_found_whole():
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(12, 2, generator=rng, dtype=torch.float64))[0].T
    centre = torch.randn(12, generator=rng, dtype=torch.float64)
    steps = torch.tensor([[5.0, 1.0], [3.0, -1.0], [1.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    path = [named(centre + step @ basis) for step in steps]
    (first, second), xy, shares = principal(path, named(centre))
    flat = [torch.cat([d["a"].flatten(), d["b"].flatten()]).double() for d in (first, second)]
    assert flat[0].norm() == pytest.approx(1, abs=1e-6)
    assert flat[0] @ flat[1] == pytest.approx(0, abs=1e-6)
    assert sum(shares) == pytest.approx(1) and shares[0] > shares[1]
    assert xy[-1] == pytest.approx([0, 0], abs=1e-9) and xy[0][0] > 0
    for (a, b), step in zip(xy, steps, strict=True):
        assert torch.allclose(a * flat[0] + b * flat[1], step @ basis, atol=1e-5)


def test_a_path_along_a_line_has_one_direction():
    centre = torch.zeros(12, dtype=torch.float64)
    path = [named(centre + k * torch.ones(12, dtype=torch.float64)) for k in (2.0, 1.0, 0.0)]
    (_, second), xy, shares = principal(path, named(centre))
    assert shares == pytest.approx([1, 0])
    assert not any(value.any() for value in second.values())
    assert [b for _, b in xy] == [0, 0, 0]
    assert [a for a, _ in xy] == pytest.approx([2 * 12**0.5, 12**0.5, 0])


def named(flat):
    return {"a": flat[:4].view(2, 2), "b": flat[4:]}
