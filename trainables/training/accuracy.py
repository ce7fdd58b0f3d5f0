"""Which images are classified correctly, and how many would be without looking at them."""

from torch import Tensor


def correct(logits: Tensor, y: Tensor) -> Tensor:
    """(N,) bool, of logits (N, classes) and labels (N,): is the label's logit the largest? Never
    where one of an image's logits is not finite: argmax takes NaN for the largest."""
    return (logits.argmax(1) == y) & logits.isfinite().all(1)


def commonest(y: Tensor) -> float:
    """The share of labels (N,), N at least 1, that are the most frequent one, in (0, 1]: the
    accuracy of a network that has learnt nothing but to say it."""
    return y.bincount().max().item() / len(y)
