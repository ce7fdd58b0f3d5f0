"""Images blurred, zoomed and displaced. All of it is linear in the pixels, in float64."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Fold = Callable[[Tensor, int], Tensor]
"""Places (int64) that may lie outside an axis, and its length -> the places that stand for them."""


def nearest(places: Tensor, size: int) -> Tensor:
    """aaa|abcd|ddd."""
    return places.clamp(0, size - 1)


def reflect(places: Tensor, size: int) -> Tensor:
    """cba|abcd|dcb."""
    folded = places.remainder(2 * size)
    return torch.minimum(folded, 2 * size - 1 - folded)


def mirror(places: Tensor, size: int) -> Tensor:
    """dcb|abcd|cba."""
    folded = places.remainder(2 * size - 2)
    return torch.minimum(folded, 2 * size - 2 - folded)


def gaussian(sigma: float, radius: int) -> Tensor:
    """(2 radius + 1,) weights of a Gaussian, which add up to one."""
    if sigma < 1e-9:
        return torch.eye(2 * radius + 1, dtype=torch.float64)[radius]
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).double() / sigma) ** 2)
    return weights / weights.sum()


def weighting(size: int, weights: Tensor, fold: Fold) -> Tensor:
    """(size, size): from an axis to its weighted sums, the weights centred on each place."""
    radius, rows = len(weights) // 2, torch.arange(size)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for offset, weight in enumerate(weights, -radius):
        matrix[rows, fold(rows + offset, size)] += weight
    return matrix


def blurred(x: Tensor, sigma: float, fold: Fold = nearest, truncate: float = 4.0) -> Tensor:
    """Images (..., S, S) under a Gaussian, as scipy.ndimage.gaussian_filter has it."""
    matrix = weighting(x.shape[-1], gaussian(sigma, int(truncate * sigma + 0.5)), fold)
    return matrix @ x @ matrix.T


def zooming(size: int, factor: float) -> Tensor:
    """(size, size): from an axis to its middle part, `factor` times as large, linearly interpolated
    between its outermost points, as the script crops and scipy.ndimage.zoom scales."""
    part = math.ceil(size / factor)
    out = round(part * factor)
    at = torch.arange(size).double() + (out - size) // 2
    at = (at * ((part - 1) / (out - 1))).clamp(max=part - 1)
    low = at.long().clamp(max=part - 2)
    share, top, rows = at - low, (size - part) // 2, torch.arange(size)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix[rows, top + low] += 1 - share
    matrix[rows, top + low + 1] += share
    return matrix


def zoomed(x: Tensor, factor: float) -> Tensor:
    """Images (..., S, S), zoomed into."""
    matrix = zooming(x.shape[-1], factor)
    return matrix @ x @ matrix.T


def displaced(x: Tensor, rows: Tensor, columns: Tensor, fold: Fold) -> Tensor:
    """x (N, C, S, S) at places (N, S, S) between its pixels, bilinearly interpolated."""
    size = x.shape[-1]
    pixels, total = x.flatten(2), torch.zeros_like(x)
    down, right = rows.floor(), columns.floor()
    for below in (0, 1):
        for beside in (0, 1):
            i, j = fold(down.long() + below, size), fold(right.long() + beside, size)
            weight = (1 - (rows - down - below).abs()) * (1 - (columns - right - beside).abs())
            there = (i * size + j).flatten(1)[:, None].expand(-1, x.shape[1], -1)
            total += weight[:, None] * pixels.gather(2, there).view_as(x)
    return total


def dragged(x: Tensor, radius: float, sigma: float, angles: Tensor) -> Tensor:
    """Images (N, C, S, S) of grey levels 0 to 255, blurred along a line from each pixel, at angles
    (N,) in degrees: ImageMagick's MotionBlurImage. Whole levels again."""
    width = 2 * math.ceil(radius) + 1
    steps = torch.arange(width).double()
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    turned = torch.deg2rad(angles)[:, None]
    right, down = ((steps * of(turned) - 0.5).ceil().long() for of in (torch.cos, torch.sin))
    size, total = x.shape[-1], torch.zeros_like(x)
    places, images = torch.arange(size), torch.arange(len(x))[:, None, None]
    for step in range(width):
        rows = nearest(places + down[:, step, None], size)
        columns = nearest(places + right[:, step, None], size)
        there = x[images, :, rows[:, :, None], columns[:, None, :]]
        total += weights[step] * there.permute(0, 3, 1, 2)
    return total.round()
