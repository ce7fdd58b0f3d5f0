"""Independent random streams from one seed."""

import hashlib

import torch


def derived(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose: unrelated purposes get unrelated streams, seed 0 is a seed."""
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def generator(
    seed: int, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator on `device`, seeded with `derived(seed, *purpose)`."""
    return torch.Generator(device).manual_seed(derived(seed, *purpose))
