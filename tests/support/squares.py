"""Images of bright squares on dark ground, and their masks, as files of the masks layout; a tiny
study that segments them, and its source."""

import zipfile
from io import BytesIO

import numpy as np
import torch
from PIL import Image


def squares(count, size=32):
    """(images (N, H, W, 3) uint8, label maps (N, H, W) uint16), two squares in each."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (count, size, size, 3), dtype=np.uint8)
    maps = np.zeros((count, size, size), np.uint16)
    side, middle = size // 4, size // 2
    for image, numbers in zip(x, maps, strict=True):
        for number, left in ((3, 2), (700, middle + 2)):
            top = rng.integers(0, size - side)
            image[top : top + side, left : left + side] += 180
            numbers[top : top + side, left : left + side] = number
    return x, maps


def png(array):
    """An array as the bytes of a PNG file."""
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path, count, size=32):
    """Writes such images into a zip file; returns its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, (image, numbers) in enumerate(zip(*squares(count, size), strict=True)):
            archive.writestr(f"images/{number}.png", png(image))
            archive.writestr(f"masks/{number}.png", png(numbers))
    return path


SOURCE = "tests.support.squares:coloured"
YAML = f"""
name: tiny
source:
  dataset: {{name: "{SOURCE}", size: 16}}
  model: {{arch: resnet8, width: 4}}
  pretrainings: {{standard: {{train: {{recipe: {{epochs: 1, batch_size: 8, lr: 0.05}}}}}}}}
pruning:
  omp: {{method: one_shot, levels: [4]}}
downstream:
  - dataset: {{name: masks, path: squares.zip, size: 32}}
    fractions: [0.5]
    levels: [0, 4]
    seeds: [0]
    regimes:
      standard: {{recipe: {{epochs: 2, batch_size: 2, lr: 0.01}}}}
      adversarial:
        attack: {{kind: pgd, steps: 1, epsilon: 0.03, alpha: 0.03}}
        recipe: {{epochs: 2, batch_size: 2, lr: 0.01}}
evaluation: {{attack: {{kind: pgd, steps: 1, epsilon: 0.03, alpha: 0.03}}}}
"""


def coloured():
    """Reddish against bluish noise."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 128, (24, 16, 16, 3), generator=rng, dtype=torch.uint8)
    y = torch.arange(24) % 2
    x[..., 0] += (100 * y).to(torch.uint8)[:, None, None]
    arrays = {"train_x": x[:16], "train_y": y[:16], "test_x": x[16:], "test_y": y[16:]}
    return {name: value.numpy() for name, value in arrays.items()}
