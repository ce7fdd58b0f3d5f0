"""Contrast, and what a computer does to pictures. Images are (N, C, S, S) float64 in [0, 1]; what
is returned may leave that range."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainables.corruptions.noise import uniform
from trainables.corruptions.sampling import blurred, displaced, mirror, reflect


def contrast(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    means = x.mean((2, 3), keepdim=True)
    return (x - means) * kept + means


def elastic_transform(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """A random affine map, then small displacements that vary smoothly."""
    strength, sigma, jitter = (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[severity - 1]
    count, size = len(x), x.shape[-1]
    across = torch.arange(size).double()
    rows, columns = torch.meshgrid(across, across, indexing="ij")

    centre, arm = float(size // 2), size // 3
    corners = centre + torch.tensor([[arm, arm], [arm, -arm], [-arm, -arm]]).double()
    moved = corners + uniform(-jitter * size, jitter * size, (count, 3, 2), rng)
    # From where corners are moved to (column, row, 1), back to where they were.
    one = torch.ones(count, 3, 1, dtype=torch.float64)
    back = torch.linalg.solve(torch.cat([moved, one], 2), corners.expand(count, 3, 2))
    places = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ back[:, None]
    x = displaced(x, places[..., 1], places[..., 0], mirror)

    right, down = (
        blurred(uniform(-1, 1, (count, size, size), rng), sigma * size, reflect, truncate=3)
        for _ in range(2)
    )
    return displaced(x, rows + strength * size * down, columns + strength * size * right, reflect)


def pixelate(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    kept = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    size = x.shape[-1]
    fewer = max(1, int(size * kept))

    def coarse(image: Image.Image) -> Image.Image:
        small = image.resize((fewer, fewer), Image.Resampling.BOX)
        return small.resize((size, size), Image.Resampling.BOX)

    return _by_pillow(x, coarse)


def jpeg_compression(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    quality = (80, 65, 58, 50, 40)[severity - 1]

    def compressed(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(x, compressed)


def _by_pillow(x: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Each image changed as a picture of whole grey levels."""
    whole = (255 * x).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    grey = x.shape[1] == 1
    changed = [
        np.asarray(change(Image.fromarray(each[..., 0] if grey else each))) for each in whole
    ]
    pixels = torch.from_numpy(np.stack(changed)).view(len(x), *x.shape[2:], x.shape[1])
    return pixels.permute(0, 3, 1, 2).double() / 255
