"""One contender of the bench, in a process of its own: the memory, the threads and the modes of one
must not be another's.

`python -m trainables.contender NAME DEVICE THREADS` answers each line of JSON, a piece of work,
with one: {"seconds": ..., "count": of images, or of whatever the work consists of}; or, if asked to
count, with the operations and bytes of an image.
"""

import json
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

from trainables.bench import libraries, ours, peers, roofline
from trainables.bench.ours import ATTACKS, CASES, Work
from trainables.bench.rows import OURS, OURSELVES
from trainables.estimate.timing import clock
from trainables.pruning import masks
from trainables.runtime.allocation import keep_freed

Piece = tuple[Callable[[], object], float]
"""Something to do, and how much of it there is."""


def piece(name: str, question: dict[str, Any], device: torch.device) -> Piece:
    """The piece of work that a question asks for, as this contender does it."""
    match question:
        case {"kind": "product", "dtype": dtype, "times": times}:
            return _repeated(*roofline.product(device, getattr(torch, dtype)), times)
        case {"kind": "copy", "times": times}:
            return _repeated(*roofline.copying(device), times)
        case {"kind": "prune"}:
            return _pruning(name)
        case {"kind": "streams", "copies": copies, **rest}:
            work = Work(device=device.type, **rest)
            return ours.on_streams(work, copies), copies * work.images
    work = Work(device=device.type, **question)
    return _way(name)(work), work.images


def _way(name: str) -> Callable[[Work], Callable[[], object]]:
    if name == OURS or name in OURSELVES:
        return ours.ours
    if name in ("paper", "unfrozen"):
        return partial(peers.published, freezes=name == "paper")
    return partial(peers.with_library, attacker=libraries.LIBRARIES[name])


def _repeated(action: Callable[[], object], amount: float, times: int) -> Piece:
    def all_of_it() -> None:
        for _ in range(times):
            action()

    return all_of_it, amount * times


def _pruning(name: str) -> Piece:
    """A fifth of a ResNet-50's convolution weights pruned by magnitude, dense as it is."""
    weights, full, keep = ours.pruned()
    total = masks.counts(full)[1]
    if name == "ours":
        return lambda: masks.prune_by_magnitude(weights, full, keep), total
    return lambda: pruned_by_torch(weights, total - keep), total


def pruned_by_torch(weights: dict[str, torch.Tensor], drop: int) -> dict[str, torch.Tensor]:
    """The masks that torch.nn.utils.prune.global_unstructured finds, `drop` weights pruned."""
    layers = {name: nn.Module() for name in weights}
    for name, layer in layers.items():
        layer.weight = nn.Parameter(weights[name].contiguous())
    parts = [(layer, "weight") for layer in layers.values()]
    prune.global_unstructured(parts, prune.L1Unstructured, amount=drop)
    return {name: layer.get_buffer("weight_mask") for name, layer in layers.items()}


def count(case: str, operation: ours.Operation) -> dict[str, float]:
    """Operations and unfused bytes of one image in the textbook program, nothing carried out."""
    settings, attack = CASES[case], ATTACKS[operation]
    net, _ = ours.network(Work(case, operation, 2, 2, "cpu"))
    net.to("meta").train(operation != "evaluate")
    x = torch.empty(2, settings.channels, settings.size, settings.size, device="meta")
    y = torch.empty(2, dtype=torch.int64, device="meta")
    rest = roofline.evaluated if operation == "evaluate" else roofline.step
    once = roofline.counted(partial(rest, net, x, y))
    each = roofline.counted(partial(roofline.ascend, net, x, y))
    times = attack.steps if attack else 0
    return {
        "operations": (once.operations + times * each.operations) / 2,
        "bytes": (once.bytes + times * each.bytes) / 2,
    }


def main() -> None:
    name, device, threads = sys.argv[1], torch.device(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    if name == OURS or name in OURSELVES:
        keep_freed()

    # The same few pieces are asked for round after round.
    @lru_cache(maxsize=4)
    def known(line: str) -> Piece:
        return piece(name, json.loads(line), device)

    for line in sys.stdin:
        question = json.loads(line)
        if question.get("kind") == "count":
            answer = count(question["case"], question["operation"])
        else:
            action, amount = known(line)
            started = clock(device)
            action()
            answer = {"seconds": clock(device) - started, "count": amount}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
