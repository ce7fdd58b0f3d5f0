"""What the script's numbers are of: whole grey levels, and images of 32 pixels."""

from torch import Tensor

_CIFAR = 32


def scale(x: Tensor) -> float:
    """What the script's lengths in pixels are multiplied by, on images (..., S, S)."""
    return x.shape[-1] / _CIFAR


def levels(x: Tensor) -> Tensor:
    """Whole grey levels, 0 to 255, of pixels in [0, 1] (clipped there): the fraction is cut off, as
    where numpy makes uint8 of it. A level that rounding has put just below itself is itself."""
    return (255 * x.clamp(0, 1) + 1e-6).floor()
