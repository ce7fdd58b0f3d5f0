"""The loss around trained weights: over planes, and how sharply it bends.

Planes and flatness are defined for any loss of named weights; `survey` applies them to a network.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.finished.evidence import Landscape
from search_spaces.regimes import Attack
from trainables.evidence import retraining
from trainables.pruning.masks import Mask, State
from trainables.runtime.differentiation import twice_differentiable
from trainables.runtime.seeding import generator
from trainables.store.ledger import Ledger
from trainables.store.tensors import npz
from trainables.training.attacks import perturb
from trainables.training.evaluation import BATCH, first_images

MARGIN = 0.2
ITERATIONS = 60
TOLERANCE = 1e-3

Losses = Callable[[Mapping[str, Tensor]], Sequence[float]]
Array = NDArray[np.float64]


def filter_normalised(
    weights: Mapping[str, Tensor], mask: Mapping[str, Tensor], rng: torch.Generator
) -> State:
    """A random Gaussian direction, scaled filter by filter to the weights' norm (Li et al. 2018,
    section 4): along the first dimension of convolutions and linear layers. Biases and norm layers
    (fewer than two dimensions) stay put, and so do pruned weights."""
    direction = {}
    for name, value in weights.items():
        drawn = torch.randn(value.shape, generator=rng).to(value.device)
        if value.dim() < 2:
            direction[name] = torch.zeros_like(value)
            continue
        if name in mask:
            drawn = drawn.masked_fill(~mask[name].to(value.device), 0)
        norm = drawn.flatten(1).norm(dim=1).clamp_min(1e-12)
        scale = value.detach().flatten(1).norm(dim=1) / norm
        direction[name] = drawn * scale.view(-1, *(1,) * (value.dim() - 1))
    return direction


def surface(
    losses: Losses,
    centre: Mapping[str, Tensor],
    plane: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    x: Sequence[float],
    y: Sequence[float],
) -> Array:
    """(losses, len(y), len(x)): each loss at centre + x first + y second."""
    first, second = plane
    rows = []
    for b in y:
        row = [losses({n: w + a * first[n] + b * second[n] for n, w in centre.items()}) for a in x]
        rows.append(row)
    return np.moveaxis(np.array(rows, dtype=float), 2, 0)


def mean_rise(surface: Array, x: Sequence[float], y: Sequence[float], radius: float) -> float:
    """Flatness: how far the loss lies above its value at (0, 0), on average over the points of a
    (len(y), len(x)) surface no farther than `radius` from it. Lower is flatter.

    Of 0.5 (p a^2 + q b^2) on a fine grid it is radius^2 (p + q) / 8. Filter-normalised directions
    make it comparable between networks (Li et al. 2018). Raises ValueError where no point is at
    (0, 0)."""
    a, b = np.meshgrid(np.asarray(x, float), np.asarray(y, float))
    distance = np.hypot(a, b)
    centre = surface[distance < 1e-9]
    if not centre.size:
        raise ValueError("the surface has no point at (0, 0)")
    inside = distance <= radius * (1 + 1e-9)
    return float(surface[inside].mean() - centre[0])


def top_eigenvalue(
    loss: Callable[[], Tensor],
    weights: Mapping[str, Tensor],
    mask: Mapping[str, Tensor],
    rng: torch.Generator,
) -> float:
    """Largest eigenvalue, by magnitude, of the loss's Hessian over the kept weights, by power
    iteration (as Yao et al. 2020): another measure of sharpness, in the loss's own units, so that
    it also depends on how large the weights are."""
    names = list(weights)
    kept = [mask[n].to(weights[n].device) if n in mask else None for n in names]
    values = list(weights.values())
    slopes = torch.autograd.grad(loss(), values, create_graph=True)
    vector = _unit([torch.randn(w.shape, generator=rng).to(w.device) for w in values], kept)
    eigenvalue = 0.0
    for _ in range(ITERATIONS):
        dot = sum((s * v).sum() for s, v in zip(slopes, vector, strict=True))
        assert isinstance(dot, Tensor)
        bent = list(torch.autograd.grad(dot, values, retain_graph=True))
        before, eigenvalue = (
            eigenvalue,
            sum(float((h * v).sum()) for h, v in zip(bent, vector, strict=True)),
        )
        if abs(eigenvalue - before) <= TOLERANCE * abs(eigenvalue):
            break
        vector = _unit(bent, kept)
    return eigenvalue


def _unit(vector: list[Tensor], kept: list[Tensor | None]) -> list[Tensor]:
    """The vector with pruned weights' entries zero, at length 1."""
    parts = [v if k is None else v.masked_fill(~k, 0) for v, k in zip(vector, kept, strict=True)]
    length = torch.stack([part.norm() for part in parts]).norm().clamp_min(1e-30)
    return [part / length for part in parts]


def survey(spec: Landscape, ledger: Ledger) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files): `flatness` with mean rise and top eigenvalue, clean and attacked, and file
    surfaces.npz with x, y, clean, attacked of the random plane and, where the spec asks for its
    path, of that (`random_`, `path_`), and the path."""
    task = retraining.trained(spec.network, ledger)
    net, mask = task.net, task.mask or {}
    x, y = first_images(task.data.test, spec.images)
    views = {"clean": x, "attacked": _attacked(net, x, y, spec, 0)}
    centre = {name: p.detach().clone() for name, p in net.named_parameters()}

    def losses(weights: Mapping[str, Tensor]) -> list[float]:
        _load(net, weights)
        harder = views["attacked"]
        if spec.reattack:
            harder = _attacked(net, x, y, spec, spec.reattack)
        with torch.no_grad():
            return [_loss(net, view, y).item() for view in (x, harder)]

    draw = generator(spec.seed, "landscape")
    plane = (filter_normalised(centre, mask, draw), filter_normalised(centre, mask, draw))
    line = [float(v) for v in np.linspace(-spec.span, spec.span, spec.points)]
    random = surface(losses, centre, plane, line, line)
    along = _along_path(spec, ledger, losses, centre) if spec.path else {}
    _load(net, centre)
    flatness = {
        view: {
            "loss": float(random[k, spec.points // 2, spec.points // 2]),
            "mean_rise": mean_rise(random[k], line, line, spec.radius),
            "top_eigenvalue": _sharpness(net, mask, image, y, spec.seed),
        }
        for k, (view, image) in enumerate(views.items())
    }
    arrays = {"random_x": np.array(line), "random_y": np.array(line), **along}
    arrays |= {f"random_{view}": random[k] for k, view in enumerate(views)}
    result = {"flatness": flatness, "radius": spec.radius, "images": len(y)}
    if spec.path:
        result["explained"] = ledger.result(spec.network)["path"]["explained"]
    return result, {"surfaces.npz": npz(arrays)}


def _along_path(
    spec: Landscape,
    ledger: Ledger,
    losses: Callable[[Mapping[str, Tensor]], list[float]],
    centre: Mapping[str, Tensor],
) -> dict[str, NDArray[Any]]:
    """The path of training and the losses in its plane, as surfaces.npz has them."""
    path = ledger.result(spec.network)["path"]
    x, y = (_around([xy[k] for xy in path["coordinates"]], spec.points) for k in range(2))
    first, second = (
        {name: direction[name].to(value.device) for name, value in centre.items()}
        for direction in retraining.directions(spec.network, ledger)
    )
    clean, attacked = surface(losses, centre, (first, second), x, y)
    return {
        "path_x": np.array(x),
        "path_y": np.array(y),
        "path_epochs": np.array(path["epochs"]),
        "path": np.array(path["coordinates"]),
        "path_clean": clean,
        "path_attacked": attacked,
    }


def _attacked(net: nn.Module, x: Tensor, y: Tensor, spec: Landscape, steps: int | None) -> Tensor:
    """x under the evaluation's attack on the network as it is, or under PGD of so many steps."""
    attack = spec.network.transfer.evaluation.attack
    if steps:
        alpha = min(1.0, 2.0 * attack.epsilon, 2.5 * attack.epsilon / steps)
        attack = Attack(
            kind="pgd", norm=attack.norm, epsilon=attack.epsilon, alpha=alpha, steps=steps
        )
    return perturb(net, x, y, attack, generator(spec.seed, "landscape-attack", device=x.device))


def _load(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(weights[name])


def _loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy, a batch at a time."""
    parts = [
        F.cross_entropy(net(a), b, reduction="sum")
        for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True)
    ]
    return torch.stack(parts).sum() / len(y)


def _sharpness(net: nn.Module, mask: Mask, x: Tensor, y: Tensor, seed: int) -> float:
    rng = generator(seed, "power-iteration")
    with twice_differentiable():
        return top_eigenvalue(lambda: _loss(net, x, y), dict(net.named_parameters()), mask, rng)


def _around(values: Sequence[float], points: int) -> list[float]:
    """Evenly spaced numbers over all values, 0 among their range, with a margin on both sides."""
    low, high = min(*values, 0.0), max(*values, 0.0)
    margin = MARGIN * (high - low) or 1.0
    return [float(v) for v in np.linspace(low - margin, high + margin, points)]
