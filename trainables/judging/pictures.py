"""What a detector finds, drawn: test images as they are labelled, clean, and under attack."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search_spaces.regimes import Attack
from trainables.data.images import ImageSet
from trainables.data.instances import objects
from trainables.training.tasks.instances import shown

SURE = 0.5
"""The least score of what is drawn."""
_GAP = 4
# Bright, and in turn far apart.
_COLOURS = (
    *((255, 64, 64), (64, 255, 64), (80, 120, 255)),
    *((255, 255, 0), (255, 0, 255), (0, 255, 255)),
)


def picture(net: nn.Module, images: ImageSet, attack: Attack, count: int) -> NDArray[np.uint8]:
    """(H, W, 3): a row for each of the first `count` images, or all there are: the image with its
    objects' masks, with those found in it, and, under the attack, with those found then."""
    part = images[:count]
    (batch,) = part.stream([torch.arange(len(part))], None)
    clean, found = shown(net, batch, None, seed=0)
    attacked, then = shown(net, batch, attack, seed=0)
    rows = [
        np.concatenate(
            [
                _drawn(clean[k], objects(batch.y[k])[0]),
                _drawn(clean[k], found[k].masks[found[k].scores >= SURE]),
                _drawn(attacked[k], then[k].masks[then[k].scores >= SURE]),
            ],
            axis=1,
        )
        for k in range(len(part))
    ]
    return np.concatenate(rows)


def _drawn(x: Tensor, masks: Tensor) -> NDArray[np.uint8]:
    """An image (3, H, W) in [0, 1] with masks (K, H, W) in colours, in a white frame."""
    pixels = x.cpu().permute(1, 2, 0).numpy() * 255
    for number, mask in enumerate(masks.cpu().numpy()):
        pixels[mask] = 0.5 * pixels[mask] + 0.5 * np.array(_COLOURS[number % len(_COLOURS)])
    frame = ((0, _GAP), (0, _GAP), (0, 0))
    return np.pad(pixels.round().astype(np.uint8), frame, constant_values=255)
