"""Weights of trained sparse networks, compactly: of what a mask prunes, the kept values alone."""

from collections.abc import Mapping

import torch
from torch import Tensor

from search_spaces.finished.weights import weights
from search_spaces.spec import Transfer
from trainables.pruning.masks import Mask, State
from trainables.store.ledger import Ledger
from trainables.store.tensors import read

FILE = "weights.safetensors"


def packed(state: Mapping[str, Tensor], mask: Mask) -> State:
    """A network's state without the zeros of its mask: of each pruned tensor the kept values, (K,)
    in the order of their places; all other tensors as they are."""
    return {
        name: value.cpu()[mask[name]] if name in mask else value.cpu()
        for name, value in state.items()
    }


def unpacked(values: Mapping[str, Tensor], mask: Mask) -> State:
    """The state that was packed, zeros where the mask prunes. Raises ValueError where a mask keeps
    another number of weights."""
    return {n: _spread(n, v, mask[n]) if n in mask else v for n, v in values.items()}


def _spread(name: str, values: Tensor, mask: Tensor) -> Tensor:
    if values.shape != (int(mask.sum()),):
        raise ValueError(f"{name}: {len(values)} weights for a mask that keeps {int(mask.sum())}")
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter_(mask, values)


def state_of(transfer: Transfer, mask: Mask | None, ledger: Ledger) -> State:
    """The weights that a transfer ended in, as the ledger keeps them; mask: its ticket's, None of
    the dense network. Raises FileNotFoundError where none are kept, DamagedError where they are not
    what was written."""
    kept = weights(transfer)
    if not ledger.has(kept):
        raise FileNotFoundError(f"{ledger.folder(kept)}: no weights are kept")
    return unpacked(read(ledger.file(kept, FILE)), mask or {})
