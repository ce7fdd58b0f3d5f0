"""Which images are classified correctly."""

from torch import Tensor


def correct(logits: Tensor, y: Tensor) -> Tensor:
    """(N,) bool, of logits (N, classes) and labels (N,): is the label's logit the largest? Never
    where one of an image's logits is not finite: argmax takes NaN for the largest."""
    return (logits.argmax(1) == y) & logits.isfinite().all(1)
