"""Corruptions against closed forms, on images of one colour, one white pixel, other sizes."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.corruptions.catalogue import CORRUPTIONS, SEVERITIES, corrupted
from trainables.corruptions.weather import ice
from trainables.runtime.seeding import generator


def plain(level, count=64, size=32):
    return torch.full((count, 3, size, size), level, dtype=torch.float64)


def random_images(count=3, channels=3, size=32):
    rng = torch.Generator().manual_seed(0)
    shape = (count, channels, size, size)
    return torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)


def changed(name, x, severity):
    return CORRUPTIONS[name](x, severity, generator(0, name))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_is_as_strong_as_published(severity):
    std = [0.04, 0.06, 0.08, 0.09, 0.1][severity - 1]
    away = changed("gaussian_noise", plain(0.5), severity) - 0.5
    assert away.std().item() == pytest.approx(std, rel=0.02)
    photons = [500, 250, 100, 75, 50][severity - 1]
    counted = changed("shot_noise", plain(0.3), severity)
    assert counted.mean().item() == pytest.approx(0.3, rel=0.01)
    assert counted.var().item() == pytest.approx(0.3 / photons, rel=0.02)
    amount = [0.01, 0.02, 0.03, 0.05, 0.07][severity - 1]
    hit = changed("impulse_noise", plain(0.4), severity)
    assert (hit == 0).double().mean().item() == pytest.approx(amount / 2, rel=0.1)
    assert (hit == 1).double().mean().item() == pytest.approx(amount / 2, rel=0.1)
    assert ((hit == 0) | (hit == 1) | (hit == 0.4)).all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pillow_makes_the_same_pictures(severity):
    image = random_images(1)
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    side = int(32 * [0.95, 0.9, 0.85, 0.75, 0.65][severity - 1])
    coarse = picture.resize((side, side), Image.Resampling.BOX).resize(
        (32, 32), Image.Resampling.BOX
    )
    file = BytesIO()
    picture.save(file, "JPEG", quality=[80, 65, 58, 50, 40][severity - 1])
    for name, theirs in (("pixelate", coarse), ("jpeg_compression", Image.open(file))):
        ours = corrupted(image, name, severity, 0)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_has_the_shares_that_were_published(severity):
    keep, share = [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)][severity - 1]
    mean = ice(500, 32, generator(0, "ice")).mean((0, 2, 3))
    assert mean.tolist() == pytest.approx([146 / 255, 167 / 255, 178 / 255], abs=0.02)
    for level in (0.0, 0.2):
        seen = changed("frost", plain(level, count=500), severity).mean((0, 2, 3))
        expected = keep * level + share * mean
        assert seen.tolist() == pytest.approx(expected.tolist(), abs=0.01)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_is_repeatable_and_takes_grey_images_of_any_size(name):
    for images in (random_images(), random_images(channels=1, size=24), random_images(size=40)):
        first, same = (corrupted(images, name, 5, seed=1) for _ in range(2))
        assert torch.equal(first, same) and not torch.equal(first, images)
        assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    drawn = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    other = corrupted(images, name, 5, seed=2)
    assert torch.equal(first, other) == (name in drawn)


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur"])
def test_lengths_grow_with_the_images(name):
    """One white pixel is spread over twice the distance in an image of twice the size."""

    def spread(size):
        x = torch.zeros(1, 3, size, size, dtype=torch.float64)
        x[..., size // 2, size // 2] = 1
        light = changed(name, x, 5)[0, 0]
        at = torch.arange(size) - size // 2
        squares = at[:, None] ** 2 + at**2
        return ((light * squares).sum() / light.sum()).sqrt().item()

    assert spread(128) / spread(64) == pytest.approx(2, rel=0.15)
