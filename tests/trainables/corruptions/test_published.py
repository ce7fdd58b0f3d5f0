"""Corruptions against the formulas of the script that made CIFAR-10-C, in numpy, scipy and Pillow,
on photographs, with the same random numbers."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.datasets import load_sample_image

from trainables.corruptions.catalogue import CORRUPTIONS, SEVERITIES, corrupted
from trainables.runtime.seeding import generator

SEED, SIZE = 5, 32


@pytest.fixture(scope="module")
def photographs():
    """(6, 3, 32, 32) uint8: pieces of scikit-learn's pictures, at half their resolution."""
    pictures = [load_sample_image(name)[::2, ::2] for name in ("china.jpg", "flower.jpg")]
    pieces = [p[at : at + 32, 2 * at : 2 * at + 32] for p in pictures for at in (20, 80, 140)]
    return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2).contiguous()


class Draws:
    """numpy's random functions, from the generator that a corruption draws from."""

    def __init__(self, name, severity):
        self.rng = generator(SEED, name, severity)

    def normal(self, loc, scale, size):
        return loc + scale * torch.randn(*size, generator=self.rng, dtype=torch.float64).numpy()

    def uniform(self, low, high, size=(1,)):
        share = torch.rand(*size, generator=self.rng, dtype=torch.float64).numpy()
        return low + (high - low) * share

    def randint(self, low, high, size):
        return torch.randint(low, high, size, generator=self.rng).numpy()


def levels(x):
    """np.uint8(255 x), but that what rounding has put just below a whole level is that level."""
    return np.uint8(255 * np.clip(x, 0, 1) + 1e-6)


def gaussian(x, sigma, mode="nearest", truncate=4.0):
    """skimage.filters.gaussian, of an image (S, S, C) or a field (S, S)."""
    return ndimage.gaussian_filter(x, (sigma, sigma, 0)[: x.ndim], mode=mode, truncate=truncate)


def clipped_zoom(x, factor):
    part = math.ceil(SIZE / factor)
    top = (SIZE - part) // 2
    middle = x[top : top + part, top : top + part]
    large = ndimage.zoom(middle, (factor, factor, 1), order=1)
    trim = (large.shape[0] - SIZE) // 2
    return large[trim : trim + SIZE, trim : trim + SIZE]


def magick_motion_blur(image, radius, sigma, angle):
    """ImageMagick's MotionBlurImage, pixel by pixel."""
    width = int(2 * math.ceil(radius) + 1)
    kernel = [math.exp(-(i * i) / (2 * sigma**2)) for i in range(width)]
    kernel = [each / sum(kernel) for each in kernel]
    across, along = (width * of(math.radians(angle)) for of in (math.sin, math.cos))
    length, last = math.hypot(across, along), SIZE - 1
    out = np.zeros_like(image, dtype=float)
    for y in range(SIZE):
        for x in range(SIZE):
            for i, weight in enumerate(kernel):
                right = math.ceil(i * along / length - 0.5)
                down = math.ceil(i * across / length - 0.5)
                place = min(max(y + down, 0), last), min(max(x + right, 0), last)
                out[y, x] += weight * image[place]
    return np.floor(out + 0.5)


def defocus_blur(x, severity, draws):
    radius, alias = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)][severity - 1]
    line = np.arange(-8, 9)
    columns, rows = np.meshgrid(line, line)
    disk = (columns**2 + rows**2 <= radius**2) / np.sum(columns**2 + rows**2 <= radius**2)
    taps = np.exp(-(np.arange(-1, 2) ** 2) / (2 * alias**2))
    kernel = ndimage.correlate(disk, np.outer(taps, taps) / taps.sum() ** 2, mode="mirror")
    channels = [ndimage.correlate(x[..., c], kernel, mode="mirror") for c in range(3)]
    return np.stack(channels, -1)


def glass_blur(x, severity, draws):
    sigma, most, rounds = [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)][
        severity - 1
    ]
    x = levels(gaussian(x, sigma))
    for _ in range(rounds):
        for h in range(SIZE - most, most, -1):
            for w in range(SIZE - most, most, -1):
                dx, dy = draws.randint(-most, most, (2,))
                # As written there: rows of colours are views, so this does not swap.
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
    return gaussian(x / 255, sigma)


def motion_blur(x, severity, draws):
    radius, sigma = [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)][severity - 1]
    (angle,) = draws.uniform(-45, 45)
    return magick_motion_blur(np.round(255 * x), radius, sigma, angle) / 255


def zoom_blur(x, severity, draws):
    last = [1.06, 1.11, 1.16, 1.21, 1.26][severity - 1]
    factors = np.arange(1, last, 0.01)
    out = sum(clipped_zoom(x, factor) for factor in factors)
    return (x + out) / (len(factors) + 1)


def snow(x, severity, draws):
    c = [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ][severity - 1]
    layer = clipped_zoom(draws.normal(c[0], c[1], (SIZE, SIZE))[..., None], c[2])
    layer[layer < c[3]] = 0
    layer = levels(layer[..., 0]).astype(float)
    layer = magick_motion_blur(layer, c[4], c[5], draws.uniform(-135, -45)[0])[..., None] / 255
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    x = c[6] * x + (1 - c[6]) * np.maximum(x, grey * 1.5 + 0.5)
    return x + layer + np.rot90(layer, k=2)


def fog(x, severity, draws):
    thickness, decay = [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)][severity - 1]
    field, step, wibble = np.zeros((SIZE, SIZE)), SIZE, 100

    def mean(total):
        return total / 4 + wibble * draws.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corner = field[0:SIZE:step, 0:SIZE:step]
        total = corner + np.roll(corner, shift=-1, axis=0)
        total = total + np.roll(total, shift=-1, axis=1)
        field[half:SIZE:step, half:SIZE:step] = mean(total)
        centre = field[half:SIZE:step, half:SIZE:step]
        upright = centre + np.roll(centre, 1, axis=0)
        level = corner + np.roll(corner, -1, axis=1)
        field[0:SIZE:step, half:SIZE:step] = mean(upright + level)
        level = centre + np.roll(centre, 1, axis=1)
        upright = corner + np.roll(corner, -1, axis=0)
        field[half:SIZE:step, 0:SIZE:step] = mean(level + upright)
        step, wibble = half, wibble / decay
    field -= field.min()
    brightest = x.max()
    x = x + thickness * (field / field.max())[..., None]
    return x * brightest / (brightest + thickness)


def brightness(x, severity, draws):
    import colorsys

    more = [0.05, 0.1, 0.15, 0.2, 0.3][severity - 1]

    def brighter(colour):
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        return colorsys.hsv_to_rgb(hue, saturation, min(1, value + more))

    return np.apply_along_axis(brighter, -1, x)


def contrast(x, severity, draws):
    kept = [0.75, 0.5, 0.4, 0.3, 0.15][severity - 1]
    means = np.mean(x, axis=(0, 1), keepdims=True)
    return (x - means) * kept + means


def elastic_transform(x, severity, draws):
    c = [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)]
    strength, sigma, jitter = (SIZE * each for each in c[severity - 1])
    centre, arm = np.array([16, 16]), 10
    before = np.array([centre + arm, [centre[0] + arm, centre[1] - arm], centre - arm])
    after = before + draws.uniform(-jitter, jitter, before.shape)
    # cv2.getAffineTransform and warpAffine: from a place in the result back to the image.
    back = np.linalg.solve(np.c_[after, np.ones(3)], before)
    columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    places = np.stack([columns, rows, np.ones_like(rows)], -1) @ back
    x = sampled(x, places[..., 1], places[..., 0], "mirror")
    right, down = (
        gaussian(draws.uniform(-1, 1, (SIZE, SIZE)), sigma, "reflect", 3) * strength
        for _ in range(2)
    )
    return sampled(x, rows + down, columns + right, "reflect")


def sampled(x, rows, columns, mode):
    places = [rows, columns]
    channels = [
        ndimage.map_coordinates(x[..., c], places, order=1, mode=mode) for c in range(x.shape[-1])
    ]
    return np.stack(channels, -1)


FORMULAS = [
    *(defocus_blur, glass_blur, motion_blur, zoom_blur, snow, fog, brightness, contrast),
    elastic_transform,
]


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.__name__)
def test_images_are_those_of_the_script(formula, severity, photographs):
    name = formula.__name__
    for image in photographs[::3]:
        ours = corrupted(image[None], name, severity, SEED)[0].permute(1, 2, 0).numpy()
        pixels = image.permute(1, 2, 0).numpy() / 255
        theirs = levels(formula(pixels, severity, Draws(name, severity)))
        away = np.abs(ours.astype(int) - theirs.astype(int))
        assert away.max() <= 1 and (away == 0).mean() > 0.999
        assert np.abs(ours / 255 - pixels).mean() > 0.001


def test_all_fifteen_are_there():
    published = {formula.__name__ for formula in FORMULAS}
    rest = {"gaussian_noise", "shot_noise", "impulse_noise", "frost", "pixelate"}
    assert set(CORRUPTIONS) == published | rest | {"jpeg_compression"}
