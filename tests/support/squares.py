"""Images of bright squares on dark ground, and their masks, as files of the masks layout."""

import zipfile
from io import BytesIO

import numpy as np
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
