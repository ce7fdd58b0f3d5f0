"""What masks show: how alike they are, and which kernels and filters they prune away whole."""

import math
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from search_spaces.finished.evidence import MaskEvidence
from trainables.pruning.masks import Mask, counts
from trainables.store.ledger import Ledger
from trainables.store.tensors import npz, read


def similarity(first: Mask, second: Mask) -> dict[str, float | int]:
    """`intersection` and `union` of two masks' kept weights, over all layers, and their quotient,
    `similarity` in [0, 1] (Chen et al. 2022, figure A8; two empty masks count as alike).

    Raises ValueError for masks of different networks.
    """
    if {n: m.shape for n, m in first.items()} != {n: m.shape for n, m in second.items()}:
        raise ValueError("masks of different networks cannot be compared")
    both = sum(int((m & second[name]).sum()) for name, m in first.items())
    either = sum(int((m | second[name]).sum()) for name, m in first.items())
    return {"intersection": both, "union": either, "similarity": both / either if either else 1.0}


def chance_similarity(first: float, second: float) -> float:
    """The similarity to expect of two independent uniformly random masks of these densities in
    (0, 1]: d / (2 - d) where both are d."""
    return first * second / (first + second - first * second)


def chance_in_layers(first: Mask, second: Mask) -> float:
    """The similarity to expect of random masks that keep as many weights as these do in each layer:
    what is above it is agreement on which weights of a layer to keep, not on which layers."""
    both = sum(int(m.sum()) * int(second[name].sum()) / m.numel() for name, m in first.items())
    either = counts(first)[0] + counts(second)[0] - both
    return both / either if either else 1.0


def kernel_counts(layer: Tensor) -> Tensor:
    """(out channels, in channels) int32: kept weights in each 2-D kernel of a layer's mask
    (out, in, height, width); each weight of a linear layer (out, in) is a kernel by itself. Chen et
    al. 2022, figure 7."""
    return layer.reshape(*layer.shape[:2], -1).sum(2, dtype=torch.int32)


def structure(mask: Mask) -> dict[str, Any]:
    """What a mask leaves of each layer and of the network.

    `layers`: name, stage (the part of the name before its first dot), shape, kept, total, sparsity,
    and of kernels (2-D slices) and filters (output channels) how many there are and how many are
    pruned whole. The network's totals of kernels leave out 1 x 1 ones, each a single weight.
    """
    layers = [_layer(name, m) for name, m in mask.items()]
    kept, total = counts(mask)
    spatial = [layer for layer in layers if math.prod(layer["shape"][2:]) > 1]
    return {
        "kept": kept,
        "total": total,
        "sparsity": 1 - kept / total,
        "kernels": sum(layer["kernels"] for layer in spatial),
        "kernels_pruned": sum(layer["kernels_pruned"] for layer in spatial),
        "filters": sum(layer["filters"] for layer in layers),
        "filters_pruned": sum(layer["filters_pruned"] for layer in layers),
        "layers": layers,
    }


def _layer(name: str, m: Tensor) -> dict[str, Any]:
    kernels = kernel_counts(m)
    kept = int(m.sum())
    return {
        "name": name,
        "stage": name.split(".")[0],
        "shape": list(m.shape),
        "kept": kept,
        "total": m.numel(),
        "sparsity": 1 - kept / m.numel(),
        "kernels": kernels.numel(),
        "kernels_pruned": int((kernels == 0).sum()),
        "filters": len(m),
        "filters_pruned": int((kernels.sum(1) == 0).sum()),
    }


def compare(spec: MaskEvidence, ledger: Ledger) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files): each ticket's `structure` and each pair's similarity, by places in the spec;
    file PLACE.npz holds a ticket's kernel counts, a convolution an array."""
    masks = [read(ledger.file(ticket, "mask.safetensors")) for ticket in spec.tickets]
    files = {
        f"{place}.npz": npz(
            {
                name: kernel_counts(m).to(torch.uint16).numpy()
                for name, m in mask.items()
                if m.dim() > 2
            }
        )
        for place, mask in enumerate(masks)
    }
    built = [structure(mask) for mask in masks]
    pairs = [
        {
            "pair": [i, j],
            **similarity(masks[i], masks[j]),
            "by_chance": chance_similarity(1 - built[i]["sparsity"], 1 - built[j]["sparsity"]),
            "by_chance_in_layers": chance_in_layers(masks[i], masks[j]),
        }
        for i, j in combinations(range(len(masks)), 2)
    ]
    return {"structures": built, "pairs": pairs}, files
