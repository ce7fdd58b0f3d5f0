"""Attacks on images in [0, 1], within balls of the L-infinity or the L2 norm.

Every attack takes a model, images x (N, C, H, W) in [0, 1], labels y (N,), its spec, and a
generator on x's device; it returns attacked images of x's shape in [0, 1], detached. It leaves the
model's train/eval mode and the parameters' gradients as they are, and forms no parameter gradient.
The caller states the BatchNorm mode: in train mode the attack's forward passes normalise by the
batch and move the running statistics, as in the published training loops.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.errors import InputError
from search_spaces.regimes import Attack
from trainables.runtime.own import load
from trainables.runtime.precision import full_precision
from trainables.training.accuracy import correct

Climbed = Callable[[Tensor], Tensor]
"""Logits of attacked images -> what an attack makes as large as it can, summed over images."""


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Parameters need no gradient inside: the backward pass then skips work for them."""
    changed = [p for p in model.parameters() if p.requires_grad]
    for parameter in changed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(True)


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The cross-entropy's gradient with respect to each image of x, and x's logits."""
    with frozen(model):
        return _gradient(model, x, y)


def _gradient(
    model: nn.Module, x: Tensor, y: Tensor, climbed: Climbed | None = None
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = model(x)
        if climbed is not None:
            loss = climbed(full_precision(logits))
        else:
            # The sum, not the mean: an image's gradient does not depend on the batch's size.
            loss = F.cross_entropy(full_precision(logits), y, reduction="sum")
        (result,) = torch.autograd.grad(loss, x)
    return result, logits.detach()


def uniform(x: Tensor, radius: float, rng: torch.Generator) -> Tensor:
    """Noise of x's shape and layout, uniform in [-radius, radius)."""
    noise = torch.empty_like(x)
    return noise.uniform_(-radius, radius, generator=rng)


def start(x: Tensor, attack: Attack, rng: torch.Generator) -> Tensor:
    """A point drawn uniformly from each image's ball, brought into [0, 1]."""
    if attack.norm == "linf":
        return (x + uniform(x, attack.epsilon, rng)).clamp_(0, 1)
    direction = torch.empty_like(x).normal_(generator=rng)
    radius = torch.empty(len(x), device=x.device).uniform_(0, 1, generator=rng)
    radius = attack.epsilon * radius ** (1 / max(1, x[0].numel()))
    return (x + _of_length(direction, radius)).clamp_(0, 1)


def bounds(x: Tensor, attack: Attack) -> tuple[Tensor, Tensor]:
    """What `climb` needs to know of the images' balls: their lowest and highest pixels, or, for L2,
    the images themselves."""
    if attack.norm == "l2":
        return x, x
    return (x - attack.epsilon).clamp_(min=0), (x + attack.epsilon).clamp_(max=1)


def climb(
    x: Tensor,
    slope: Tensor,
    attack: Attack,
    low: Tensor,
    high: Tensor,
    alpha: float | Tensor | None = None,
) -> Tensor:
    """x, a step further up the slope and back in its ball and in [0, 1]: for L-infinity along the
    slope's sign, for L2 along the slope. alpha: stands in for the attack's."""
    size = attack.alpha if alpha is None else alpha
    if attack.norm == "linf":
        return torch.clamp(moved(x, slope.sign_(), size), low, high)
    away = moved(x, _of_length(slope, torch.ones(len(x), device=x.device)), size) - low
    length = _lengths(away)
    # Clamping to [0, 1], where the images are, brings no pixel further away from them.
    return low.add(away * (attack.epsilon / length.clamp(min=attack.epsilon))).clamp_(0, 1)


def _lengths(x: Tensor) -> Tensor:
    """L2 norm of each image, (N, 1, 1, 1)."""
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), keepdim=True)


def _of_length(x: Tensor, length: Tensor) -> Tensor:
    """Images along x of L2 norms `length` (N,); where x is zero, zero."""
    norm = _lengths(x)
    scale = length.view(norm.shape) / torch.where(norm > 0, norm, torch.ones_like(norm))
    return x * scale


def moved(x: Tensor, direction: Tensor, alpha: float | Tensor) -> Tensor:
    """x, alpha further in a direction."""
    if isinstance(alpha, Tensor):
        return torch.addcmul(x, direction, alpha)
    return x.add(direction, alpha=alpha)


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    rng: torch.Generator,
    alpha: Tensor | None = None,
    climbed: Climbed | None = None,
) -> Tensor:
    """Projected gradient ascent from a uniform start in the epsilon-ball (Madry et al. 2018)."""
    low, high = bounds(x, attack)
    attacked = start(x, attack, rng)
    with frozen(model):
        for _ in range(attack.steps):
            slope, _logits = _gradient(model, attacked, y, climbed)
            attacked = climb(attacked, slope, attack, low, high, alpha)
    return attacked


def withstands(
    model: nn.Module, x: Tensor, y: Tensor, attack: Attack, rng: torch.Generator
) -> Tensor:
    """(N,) bool: does no iterate of PGD, start and end included, turn an image into a misclassified
    one? All are attacked to the end: nothing here waits for the device."""
    low, high = bounds(x, attack)
    attacked = start(x, attack, rng)
    right = torch.ones_like(y, dtype=torch.bool)
    with frozen(model):
        for _ in range(attack.steps):
            slope, logits = _gradient(model, attacked, y)
            right &= correct(logits, y)
            attacked = climb(attacked, slope, attack, low, high)
        with torch.no_grad():
            return right & correct(model(attacked), y)


class _Attacked(NamedTuple):
    """Images under attack: their places in the order of arrival, labels, balls, iterates, and how
    many steps each has taken."""

    place: Tensor
    y: Tensor
    low: Tensor
    high: Tensor
    x: Tensor
    steps: Tensor


def survivors(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor, torch.Generator]],
    attack: Attack,
    size: int,
) -> Tensor:
    """Which images does no iterate of PGD, start and end included, turn into a misclassified one?

    batches: images, labels and the generator that their starts are drawn from. Returns the images'
    places (K,) int64 in the order of arrival, ascending. An image that is fooled leaves and others
    take its place: about `size` are attacked at a time, each by itself. Call it in eval mode, where
    one image's logits do not depend on another's.
    """
    piece = max(1, size // 8)
    arriving = _arriving(batches, attack, piece)
    here: _Attacked | None = None
    stood = []
    with frozen(model):
        while here := _filled(here, arriving, size - piece):
            slope, logits = _gradient(model, here.x, here.y)
            right = correct(logits, here.y)
            last = here.steps == attack.steps
            stood.append(here.place[right & last])
            x = climb(here.x, slope, attack, here.low, here.high)
            stay = (right & ~last).nonzero().flatten()
            here = _Attacked(*(t[stay] for t in here._replace(x=x, steps=here.steps + 1)))
    return torch.cat(stood).sort().values if stood else torch.zeros(0, dtype=torch.int64)


def _arriving(
    batches: Iterable[tuple[Tensor, Tensor, torch.Generator]], attack: Attack, piece: int
) -> Iterator[_Attacked]:
    """The images at their starts, in pieces."""
    seen = 0
    for x, y, rng in batches:
        place = torch.arange(seen, seen + len(y), device=y.device)
        seen += len(y)
        at = start(x, attack, rng)
        whole = _Attacked(place, y, *bounds(x, attack), at, torch.zeros_like(y))
        yield from map(_Attacked, *(tensor.split(piece) for tensor in whole))


def _filled(here: _Attacked | None, arriving: Iterator[_Attacked], enough: int) -> _Attacked | None:
    """The images that are here, and as many more as come until there are more than `enough`; None
    if there are none."""
    parts = [here] if here is not None and len(here.y) else []
    while sum(len(some.y) for some in parts) <= enough:
        more = next(arriving, None)
        if more is None:
            break
        if len(more.y):
            parts.append(more)
    if len(parts) < 2:
        return parts[0] if parts else None
    return _Attacked(*map(torch.cat, zip(*parts, strict=True)))


def n_fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    rng: torch.Generator,
    alpha: Tensor | None = None,
    climbed: Climbed | None = None,
) -> Tensor:
    """One step from uniform noise in [-2 epsilon, 2 epsilon]; noisy and attacked images are kept in
    [0, 1], but not projected onto the epsilon-ball (de Jorge et al. 2022, and their code)."""
    noisy = (x + uniform(x, 2 * attack.epsilon, rng)).clamp_(0, 1)
    with frozen(model):
        slope, _ = _gradient(model, noisy, y, climbed)
    return moved(noisy, slope.sign_(), attack.alpha if alpha is None else alpha).clamp_(0, 1)


def own(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    rng: torch.Generator,
    alpha: Tensor | None = None,
    climbed: Climbed | None = None,
) -> Tensor:
    """The user's own attack, brought into [0, 1]; it keeps to its ball itself."""
    with frozen(model):
        attacked: Tensor = load(attack.kind, attack.sha256)(model, x, y, attack, rng)
    if not isinstance(attacked, Tensor) or attacked.shape != x.shape:
        raise InputError(f"{attack.kind}: gives no images of shape {tuple(x.shape)}: return those")
    return attacked.detach().clamp(0, 1)


# One step of FGSM from a uniform start (Wong et al. 2020) is PGD of one step.
_BY_KIND = {"fgsm": pgd, "n_fgsm": n_fgsm, "pgd": pgd}


def perturb(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    rng: torch.Generator,
    alpha: Tensor | None = None,
    climbed: Climbed | None = None,
) -> Tensor:
    """x under the attack that the spec names; restarts are the evaluation's business. alpha: stands
    in for the attack's where it may change while the step stays as it is recorded. climbed: what
    the attack makes large, default: the cross-entropy."""
    attacked = _BY_KIND.get(attack.kind, own)
    return attacked(model, x, y, attack, rng, alpha, climbed)
