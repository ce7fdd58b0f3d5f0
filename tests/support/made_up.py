"""A study with made-up results in a real ledger: no training, no Ray."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import safetensors.numpy

from search_spaces import grid
from search_spaces.levels import kept
from search_spaces.study import Study
from tests.support.studies import tiny
from trainables.store.ledger import Ledger

WHERE = {"host": "h", "device": "cpu", "workers": 1, "torch": "2", "started": 1.0, "ended": 2.0}
IMAGES = 100


def study() -> Study:
    """One theta, three rounds of imp and a random ticket for each of two seeds: 20 transfers."""
    return tiny(
        "name=made-up",
        "pruning.imp.rounds=3",
        "pruning.random.levels=[1]",
        "downstream.0.levels=[0,1,2,3]",
    )


def scored(level: int, pruning: str) -> dict[str, float]:
    """Of 100 images; imp loses from level 3 on, random at once."""
    loss = 20 if level > 2 or pruning == "random" else 0
    return {"sa": (90 - loss) / IMAGES, "ra": (50 - loss) / IMAGES}


def write_source(study: Study, ledger: Ledger) -> None:
    """The theta and its tickets."""
    rng = np.random.default_rng(0)
    weights = {"conv1.weight": rng.normal(size=(25, 4)), "fc.weight": rng.normal(size=(10, 2))}
    for theta in grid.thetas(study):
        content = safetensors.numpy.save(weights)
        ledger.write(theta.theta, {**WHERE, "state": "complete"}, {"weights.safetensors": content})
    for cell in grid.tickets(study):
        left = kept(IMAGES, cell.level, 0.2)
        mask = (np.arange(IMAGES) < left).reshape(25, 4)
        numbers = {"kept": left, "total": IMAGES, "sparsity": 1 - left / IMAGES}
        result = {**WHERE, "state": "complete", **numbers, "layers": {"conv1.weight": 0.2}}
        files = {"mask.safetensors": safetensors.numpy.save({"conv1.weight": mask})}
        ledger.write(cell.ticket, result, files)


def write_transfers(
    ledger: Ledger,
    cells: Collection[grid.TransferCell],
    epochs: Collection[dict[str, Any]] = (),
) -> None:
    """Some transfers, all of the same epochs."""
    for cell in cells:
        scores = scored(cell.ticket_cell.level, cell.ticket_cell.pruning)
        right = {"clean": scores["sa"], "attacked": scores["ra"]}
        bits = {name: np.arange(IMAGES) < IMAGES * share for name, share in right.items()}
        result: dict[str, Any] = {**WHERE, "state": "complete", "test": scores, "last": scores}
        files = {"correct.safetensors": safetensors.numpy.save(bits)}
        ledger.write(cell.transfer, {**result, "best_epoch": 1, "epochs": [*epochs]}, files)


def cells(study: Study, chosen: Callable[[grid.TransferCell], bool]) -> list[grid.TransferCell]:
    """The transfers of a study that are chosen."""
    return [cell for cell in grid.transfers(study) if chosen(cell)]
