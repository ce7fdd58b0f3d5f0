"""The fifteen corruptions by name, and what each makes of images."""

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.corruptions import blur, digital, noise, weather
from trainables.corruptions.levels import levels
from trainables.runtime.seeding import generator

Corruption = Callable[[Tensor, int, torch.Generator], Tensor]
"""Images (N, C, S, S) float64 in [0, 1], a severity from 1 to 5, and what to draw from."""

CORRUPTIONS: dict[str, Corruption] = {
    each.__name__: each
    for each in (
        *(noise.gaussian_noise, noise.shot_noise, noise.impulse_noise),
        *(blur.defocus_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur),
        *(weather.snow, weather.frost, weather.fog, weather.brightness),
        *(digital.contrast, digital.elastic_transform, digital.pixelate),
        digital.jpeg_compression,
    )
}
"""In the order of the paper's tables."""
SEVERITIES = (1, 2, 3, 4, 5)


def corrupted(x: Tensor, name: str, severity: int, seed: int) -> Tensor:
    """x (N, C, S, S) uint8, C 1 or 3, on the CPU, under a corruption by its name: as uint8 again,
    the same for the same seed and the same number of images."""
    rng = generator(seed, name, severity)
    return levels(CORRUPTIONS[name](x.double() / 255, severity, rng)).to(torch.uint8)
