"""Blurs. Images are (N, C, S, S) float64 in [0, 1]; so is what is returned."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.corruptions.levels import levels, scale
from trainables.corruptions.noise import uniform
from trainables.corruptions.sampling import (
    blurred,
    dragged,
    gaussian,
    mirror,
    weighting,
    zooming,
)


def defocus_blur(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    radius, alias = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    kernel = disk(radius * scale(x), alias * scale(x))
    around = torch.arange(-(len(kernel) // 2), x.shape[-1] + len(kernel) // 2)
    places = mirror(around, x.shape[-1])
    padded = x[..., places[:, None], places]
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None]).view_as(x)


def disk(radius: float, alias: float) -> Tensor:
    """(K, K), K odd: a disk that lets all light through, its edge blurred by a Gaussian of sigma
    `alias` (cut off after one or two pixels)."""
    half, edge = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    line = torch.arange(-half, half + 1).double()
    whole = (line[:, None] ** 2 + line**2 <= radius**2).double()
    matrix = weighting(len(line), gaussian(alias, edge), mirror)
    smooth = matrix @ (whole / whole.sum()) @ matrix.T
    rim = min(half, int(radius) + edge)
    return smooth[half - rim : half + rim + 1, half - rim : half + rim + 1]


def glass_blur(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """Blurred, pixels displaced at random, blurred.

    The script means to swap pixels; as the rows of an array of colours are views, what it does is
    to copy one over the other, and CIFAR-10-C was made so. At the displacements that it has, each
    pixel then takes the value that its neighbour had."""
    sigma, most, rounds = (
        *((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1)),
        *((0.25, 1, 2), (0.4, 1, 2)),
    )[severity - 1]
    size = x.shape[-1]
    sigma, most = sigma * scale(x), max(1, round(most * scale(x)))
    x = levels(blurred(x, sigma)) / 255
    moved = torch.arange(size - most, most, -1)
    for _ in range(rounds):
        shape = (len(x), len(moved), len(moved), 2)
        right, down = torch.randint(-most, most, shape, generator=rng).unbind(-1)
        rows, columns = moved[:, None] + down, moved + right
        images = torch.arange(len(x))[:, None, None]
        taken = x[images, :, rows, columns]
        x = x.clone()
        x[:, :, moved[:, None], moved] = taken.permute(0, 3, 1, 2)
    return blurred(x, sigma)


def motion_blur(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[severity - 1]
    angles = uniform(-45, 45, (len(x),), rng)
    return dragged((255 * x).round(), radius * scale(x), sigma * scale(x), angles) / 255


def zoom_blur(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """The mean of the image and of zooms into it."""
    last = (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1]
    # numpy's own range: by rounding, it may hold its end.
    matrices = [zooming(x.shape[-1], float(factor)) for factor in np.arange(1, last, 0.01)]
    total = x + sum(matrix @ x @ matrix.T for matrix in matrices)
    return total / (len(matrices) + 1)
