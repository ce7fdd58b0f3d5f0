"""How fast a sparse network answers, each way to run it, in turns with the dense one."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.bench.interleaving import interleave, quartiles, ratios
from trainables.estimate.timing import clock
from trainables.export.taken import Taken, decisions
from trainables.latency.contenders import AS_IT_IS, DENSE, Contender, assembled
from trainables.latency.sparse import SparseProduct
from trainables.latency.work import macs, peak_memory
from trainables.runtime.allocation import keep_freed
from trainables.store.records import now, provenance

TURN = 0.05
"""Seconds that one contender runs before the next has its turn."""
_FEW = 2


@dataclass(frozen=True)
class Asked:
    """batches: images at once; seconds: at the least, for each of them; threads: of a CPU."""

    batches: Sequence[int]
    seconds: float
    threads: int
    device: torch.device


def measure(taken: Taken, asked: Asked) -> dict[str, Any]:
    """All that is measured, as JSON: `rows`, one a contender, `absent`, why others are not among
    them, and when, where and on what.

    A row: name, about, `file` and `zipped` (bytes), `memory` (bytes of tensors at the fullest of
    the largest batch), `macs` and `nonzero_macs` of an image, `sa` on the test images, `agrees`
    (share of them that get the same class as from the network as it is), and `speed`: by batch
    size, the quartiles of images/s and of their ratio to the dense network's in the same round.
    None where it is not known: within ONNX Runtime and sparse products; the accuracy of the dense
    network, whose weights are made up.
    """
    started = now()
    keep_freed()
    torch.set_num_threads(asked.threads)
    largest = taken.images(max(asked.batches))
    field = assembled(taken.net, taken.mask, largest[:_FEW], asked.device, asked.threads)
    with torch.inference_mode():
        speeds = {
            batch: _speeds(field.contenders, largest[:batch], asked) for batch in asked.batches
        }
        answers = {c.name: _decided(c, taken, asked) for c in field.contenders if c.name != DENSE}
    rows = [_row(c, taken, asked, largest, answers) for c in field.contenders]
    for row in rows:
        row["speed"] = {str(batch): by_name[row["name"]] for batch, by_name in speeds.items()}
    return {
        "rows": rows,
        "absent": field.absent,
        "test_images": len(taken.splits.test),
        "image": list(largest.shape[1:]),
        "processor": _processor(asked.device),
        **provenance(started, asked.device),
    }


def _speeds(
    contenders: Sequence[Contender], images: Tensor, asked: Asked
) -> dict[str, dict[str, dict[str, float]]]:
    """By name, the quartiles of images/s and of their ratio to dense in the same round."""
    works = {c.name: partial(c.run, images.to(_place(c, asked))) for c in contenders}
    once = _seconds(works[DENSE], 1, asked.device)  # Warms up.
    once = min(once, *(_seconds(works[DENSE], 1, asked.device) for _ in range(3)))
    times = max(1, round(TURN / max(once, 1e-6)))
    turns = {
        name: partial(_rate, work, times, len(images), asked.device) for name, work in works.items()
    }
    rates = interleave(turns, asked.seconds)
    return {
        name: {
            "images_per_second": asdict(quartiles(each)),
            "ratio": asdict(quartiles(ratios(each, rates[DENSE]))),
        }
        for name, each in rates.items()
    }


def _rate(work: Callable[[], object], times: int, images: int, device: torch.device) -> float:
    return times * images / _seconds(work, times, device)


def _seconds(work: Callable[[], object], times: int, device: torch.device) -> float:
    before = clock(device)
    for _ in range(times):
        work()
    return max(clock(device) - before, 1e-9)


def _row(
    contender: Contender,
    taken: Taken,
    asked: Asked,
    images: Tensor,
    answers: Mapping[str, Tensor],
) -> dict[str, Any]:
    net = contender.net
    file, zipped = contender.file
    row = {"name": contender.name, "about": contender.about, "file": file, "zipped": zipped}
    row |= {"memory": None, "macs": None, "nonzero_macs": None, "sa": None, "agrees": None}
    if net is not None:
        ready = images.to(asked.device)
        with torch.no_grad():
            row["memory"] = peak_memory(partial(contender.run, ready), _held(net), asked.device)
        if not any(isinstance(module, SparseProduct) for module in net.modules()):
            row["macs"], row["nonzero_macs"] = macs(net, ready[:1].to(next(net.parameters()).dtype))
    if contender.name in answers:
        given = answers[contender.name]
        row["sa"] = (given == taken.splits.test.y.cpu()).double().mean().item()
        row["agrees"] = (given == answers[AS_IT_IS]).double().mean().item()
    return row


def _decided(contender: Contender, taken: Taken, asked: Asked) -> Tensor:
    return decisions(contender.run, taken.splits, _place(contender, asked))


def _place(contender: Contender, asked: Asked) -> torch.device:
    return asked.device if contender.net is not None else torch.device("cpu")


def _held(net: nn.Module) -> int:
    """Bytes of a network's tensors."""
    return sum(map(_bytes, [*net.parameters(), *net.buffers()]))


def _bytes(tensor: Tensor) -> int:
    if tensor.layout == torch.sparse_csr:
        parts = (tensor.values(), tensor.col_indices(), tensor.crow_indices())
        return sum(part.nbytes for part in parts)
    packed = getattr(tensor, "packed", None)
    return tensor.nbytes if packed is None else int(packed.nbytes)


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.machine()
