"""A transfer trained again for its weights, with the path that training took."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from search_spaces.finished.evidence import Retraining
from search_spaces.finished.weights import weights
from trainables.jobs import transfer
from trainables.jobs.outcome import outcomes
from trainables.pruning.masks import State
from trainables.store.ledger import Ledger
from trainables.store.tensors import read, to_bytes
from trainables.store.weights import state_of
from trainables.training.loop import snapshot

Directions = tuple[State, State]


def retrain(spec: Retraining, ledger: Ledger) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files) of training a finished transfer anew, with as many threads as then.

    result: `reproduced`, whether every score, the best epoch and every image's correctness come out
    as stored; `test` and `stored`, the two scores; `path`: `epochs` (0 = before training), their
    `coordinates` (n, 2) relative to the final weights, and `explained`, each direction's share of
    the path's variance. Files: weights.safetensors, the final state; directions.safetensors, the
    two principal directions, their names behind 0/ and 1/.
    """
    stored = ledger.result(spec.transfer)
    # Checks were made already, and are not cheap.
    bare = spec.transfer.model_copy(update={"checks": None})
    with _threads(stored["threads"]):
        task = transfer.prepare(bare, ledger, _device())
        path = {0: _weights(task.net)}
        wanted = _spread(bare.regime.recipe.epochs, spec.snapshots)
        for reached in outcomes(partial(transfer.train, task), bare.regime):
            if reached.state == "diverged":
                if stored["state"] != "diverged":
                    raise FloatingPointError(reached.reason)
            elif reached.ended or reached.last["number"] in wanted:
                path[reached.last["number"]] = _weights(task.net)
        result, files = transfer.conclude(task, reached, ledger)
    then = read(ledger.file(spec.transfer, "correct.safetensors"))
    if reproduced := _same(result, files, stored, then):
        # From here on its weights are there, as if it had kept them.
        transfer.keep_weights(task, result, ledger)
    directions, coordinates, explained = principal(list(path.values()), _weights(task.net))
    summary = {
        "reproduced": reproduced,
        "test": result["test"],
        "stored": stored["test"],
        "best_epoch": result["best_epoch"],
        "path": {"epochs": list(path), "coordinates": coordinates, "explained": explained},
    }
    both = {f"{k}/{name}": d[name] for k, d in enumerate(directions) for name in d}
    return summary, {
        "weights.safetensors": to_bytes(snapshot(task.net)),
        "directions.safetensors": to_bytes(both),
    }


def trained(spec: Retraining, ledger: Ledger) -> transfer.Task:
    """A transfer's network, in its evaluated state, with its mask and data: its weights as they
    were kept or, where they were not, as it was trained again."""
    task = transfer.prepare(spec.transfer, ledger, _device())
    if ledger.has(weights(spec.transfer)):
        state = state_of(spec.transfer, task.mask, ledger)
    else:
        state = read(ledger.file(spec, "weights.safetensors"))
    task.net.load_state_dict(state)
    return replace(task, net=task.net.eval())


def directions(spec: Retraining, ledger: Ledger) -> Directions:
    """The two principal directions of a re-trained transfer's path."""
    both = read(ledger.file(spec, "directions.safetensors"))
    first, second = (
        {name[2:]: value for name, value in both.items() if name.startswith(f"{k}/")}
        for k in range(2)
    )
    return first, second


def principal(
    path: Sequence[Mapping[str, Tensor]], centre: Mapping[str, Tensor]
) -> tuple[Directions, list[list[float]], list[float]]:
    """The plane that holds most of a path of weights (Li et al. 2018, section 7): two orthogonal
    unit directions, the path's coordinates (n, 2) in them, and each one's share of variance.

    Principal components of the differences to `centre`, which are not centred on their mean: the
    plane passes through `centre`. A path along a line has zeros as its second direction, one that
    never leaves its start (a training that diverged at once) as both.
    """
    if len(path) == 1:
        return _nowhere(centre)
    moved = {
        name: torch.stack([weights[name] - value for weights in path]).flatten(1).double()
        for name, value in centre.items()
    }
    # n x n in place of parameters x parameters: the same components.
    products = torch.stack([m @ m.T for m in moved.values()]).sum(0)
    values, vectors = torch.linalg.eigh(products)
    total = values.clamp_min(0).sum().item()
    axes: list[State] = []
    columns, shares = [], []
    for k in (-1, -2):
        value = max(values[k].item(), 0.0)
        # Below rounding's reach there is no direction left.
        length = value**0.5 if value > 1e-12 * total else 0.0
        u = vectors[:, k]
        u = u if u[0] >= 0 else -u  # The sign is free: the path starts on the positive side.
        unit = u / length if length else torch.zeros_like(u)
        axes.append({n: (unit @ m).view(centre[n].shape).float() for n, m in moved.items()})
        columns.append((u * length).tolist())
        shares.append(value / total if total else 0.0)
    return (axes[0], axes[1]), [list(xy) for xy in zip(*columns, strict=True)], shares


def _nowhere(centre: Mapping[str, Tensor]) -> tuple[Directions, list[list[float]], list[float]]:
    first, second = ({n: torch.zeros_like(value) for n, value in centre.items()} for _ in range(2))
    return (first, second), [[0.0, 0.0]], [0.0, 0.0]


def _spread(epochs: int, snapshots: int) -> set[int]:
    """At most `snapshots` epochs from 0 to the last, at even distances."""
    gaps = min(snapshots - 1, epochs)
    return {round(k * epochs / gaps) for k in range(gaps + 1)}


def _weights(net: nn.Module) -> State:
    """A copy of what is trained, on the CPU; BatchNorm's statistics are not."""
    return {name: p.detach().cpu().clone() for name, p in net.named_parameters()}


def _same(
    result: Mapping[str, Any],
    files: Mapping[str, bytes],
    stored: Mapping[str, Any],
    then: Mapping[str, Tensor],
) -> bool:
    now = load(files["correct.safetensors"])
    # The last state's scores are missing where kept weights were judged.
    names = ("test", "val", "best_epoch", *(("last",) if "last" in stored else ()))
    scores = all(result[name] == stored[name] for name in names)
    return scores and all(torch.equal(right, then[view]) for view, right in now.items())


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sums are split over threads: another number gives other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
