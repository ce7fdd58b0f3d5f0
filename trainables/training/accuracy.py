"""Which images are classified correctly, how sure their share is, and how many would be without
looking at them."""

import math

from torch import Tensor

# Of the normal distribution, two-sided, 95 %.
_QUANTILE = 1.959963984540054


def correct(logits: Tensor, y: Tensor) -> Tensor:
    """(N,) bool, of logits (N, classes) and labels (N,): is the label's logit the largest? Never
    where one of an image's logits is not finite: argmax takes NaN for the largest."""
    return (logits.argmax(1) == y) & logits.isfinite().all(1)


def commonest(y: Tensor) -> float:
    """The share of labels (N,), N at least 1, that are the most frequent one, in (0, 1]: the
    accuracy of a network that has learnt nothing but to say it."""
    return y.bincount().max().item() / len(y)


def interval(right: Tensor) -> tuple[float, float]:
    """95 % interval of an accuracy whose test images are a sample, in [0, 1].

    right: (N,), N at least 1, for each image whether it is classified correctly, or in which share
    of its versions it is. Wilson's score interval (1927), with the images' own variance in place of
    p (1 - p), which it is for yes and no."""
    n, values = len(right), right.double()
    centre, variance = values.mean().item(), values.var(correction=0).item()
    z, shrunk = _QUANTILE, 1 + _QUANTILE**2 / n
    middle = (centre + z**2 / (2 * n)) / shrunk
    half = z / shrunk * math.sqrt(variance / n + (z / (2 * n)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)
