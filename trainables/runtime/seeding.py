"""Independent random streams from one seed."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

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


@contextmanager
def drawing(seed: int, *purpose: str | int, device: torch.device) -> Iterator[None]:
    """Inside, what draws from torch's own generators, as dropout does, draws from `derived(seed,
    *purpose)`; afterwards they are as they were."""
    with untouched(device):
        torch.manual_seed(derived(seed, *purpose))
        yield


def untouched(device: torch.device) -> AbstractContextManager[None]:
    """Whatever is drawn inside, torch's own generators are afterwards as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])
