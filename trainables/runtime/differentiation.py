"""Gradients of gradients, through every layer that has them."""

from contextlib import AbstractContextManager

from torch.nn.attention import SDPBackend, sdpa_kernel


def twice_differentiable() -> AbstractContextManager[None]:
    """Inside, attention is computed step by step: of its fused kernels there is no second
    derivative."""
    return sdpa_kernel(SDPBackend.MATH)
