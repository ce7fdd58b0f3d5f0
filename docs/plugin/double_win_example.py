"""A package that offers a network, a pruning criterion and a data set by name."""

import numpy as np
from torch import nn


def two_layers(classes, width=8):
    """A network: from the number of classes to a module of images (N, C, H, W)."""
    first = nn.Conv2d(1, width, 3, stride=2, padding=1)
    last = nn.Linear(width * 16, classes)
    return nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), last)


def smallest(network, data, rng):
    """A criterion: the smallest weights score highest. Scores by parameter name."""
    return {name: -weight.detach().abs() for name, weight in network.named_parameters()}


def bars():
    """A data set: upright and lying bars in noise, images (N, H, W, C) and labels by split."""
    y, rng = np.arange(200) % 2, np.random.default_rng(0)
    x = rng.integers(0, 99, (200, 8, 8, 1), dtype=np.uint8)
    x[y == 0, :, 3:5] += 150
    x[y == 1, 3:5] += 150
    return {"train_x": x[:160], "train_y": y[:160], "test_x": x[160:], "test_y": y[160:]}
