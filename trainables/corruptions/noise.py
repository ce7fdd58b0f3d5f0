"""Noise. Images are (N, C, S, S) float64 in [0, 1]; what is returned may leave that range."""

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(low: float, high: float, shape: Sequence[int], rng: torch.Generator) -> Tensor:
    """Float64 numbers, uniform in [low, high)."""
    return low + (high - low) * torch.rand(*shape, generator=rng, dtype=torch.float64)


def gaussian_noise(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    scale = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return x + scale * torch.randn(x.shape, generator=rng, dtype=x.dtype)


def shot_noise(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """Photons are counted."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    return torch.poisson(x * photons, generator=rng) / photons


def impulse_noise(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """Salt and pepper, channel by channel."""
    amount = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    hit = torch.rand(x.shape, generator=rng, dtype=x.dtype) <= amount
    salt = torch.rand(x.shape, generator=rng, dtype=x.dtype) <= 0.5
    return torch.where(hit, salt.to(x.dtype), x)
