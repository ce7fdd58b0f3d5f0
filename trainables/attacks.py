"""Attacks on images in [0, 1], under the L-infinity norm.

Every attack takes a model, images x (N, C, H, W) in [0, 1], labels y (N,), its spec, and a
generator on x's device; it returns attacked images of x's shape in [0, 1], detached. It leaves the
model's train/eval mode and the parameters' gradients as they are, and forms no parameter gradient.
The caller states the BatchNorm mode: in train mode the attack's forward passes normalise by the
batch and move the running statistics, as in the published training loops.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.regimes import Attack
from trainables.precision import raised


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


def ascent(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Sign of the cross-entropy's gradient with respect to x, the model being frozen."""
    return _gradient(model, x, y)[0].sign_()


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The cross-entropy's gradient with respect to each image of x, and x's logits."""
    with frozen(model):
        return _gradient(model, x, y)


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = model(x)
        # The sum, not the mean: an image's gradient then does not depend on the batch's size.
        loss = F.cross_entropy(raised(logits), y, reduction="sum")
        (result,) = torch.autograd.grad(loss, x)
    return result, logits.detach()


def uniform(x: Tensor, radius: float, rng: torch.Generator) -> Tensor:
    """Noise of x's shape and layout, uniform in [-radius, radius)."""
    noise = torch.empty_like(x)
    return noise.uniform_(-radius, radius, generator=rng)


def pgd(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, rng: torch.Generator) -> Tensor:
    """Projected gradient ascent from a uniform start in the epsilon-ball (Madry et al. 2018)."""
    low = (x - attack.epsilon).clamp_(min=0)
    high = (x + attack.epsilon).clamp_(max=1)
    attacked = (x + uniform(x, attack.epsilon, rng)).clamp_(0, 1)
    with frozen(model):
        for _ in range(attack.steps):
            step = ascent(model, attacked, y)
            attacked = torch.clamp(attacked.add(step, alpha=attack.alpha), low, high)
    return attacked


def withstands(
    model: nn.Module, x: Tensor, y: Tensor, attack: Attack, rng: torch.Generator
) -> Tensor:
    """(N,) bool: does no iterate of PGD, start and end included, fool the model?

    An image that is fooled leaves the batch. Call it in eval mode, where one image's logits do not
    depend on another's.
    """
    left = torch.arange(len(y), device=y.device)
    low = (x - attack.epsilon).clamp_(min=0)
    high = (x + attack.epsilon).clamp_(max=1)
    attacked = (x + uniform(x, attack.epsilon, rng)).clamp_(0, 1)
    with frozen(model):
        for _ in range(attack.steps):
            slope, logits = _gradient(model, attacked, y[left])
            attacked = torch.clamp(attacked.add(slope.sign_(), alpha=attack.alpha), low, high)
            right = logits.argmax(1) == y[left]
            if not right.all():
                left, attacked, low, high = left[right], attacked[right], low[right], high[right]
            if not len(left):
                break
    result = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    if len(left):
        with torch.no_grad():
            result[left] = model(attacked).argmax(1) == y[left]
    return result


def fgsm(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, rng: torch.Generator) -> Tensor:
    """One step from a uniform start in the epsilon-ball (Wong et al. 2020): PGD of one step."""
    return pgd(model, x, y, attack, rng)


def n_fgsm(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, rng: torch.Generator) -> Tensor:
    """One step from uniform noise in [-2 epsilon, 2 epsilon], kept in [0, 1] but not projected onto
    the epsilon-ball (de Jorge et al. 2022)."""
    noisy = x + uniform(x, 2 * attack.epsilon, rng)
    with frozen(model):
        step = ascent(model, noisy, y)
    return noisy.add(step, alpha=attack.alpha).clamp_(0, 1)


_BY_KIND = {"fgsm": fgsm, "n_fgsm": n_fgsm, "pgd": pgd}


def perturb(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, rng: torch.Generator) -> Tensor:
    """x under the attack that the spec names; restarts are the evaluation's business."""
    return _BY_KIND[attack.kind](model, x, y, attack, rng)
