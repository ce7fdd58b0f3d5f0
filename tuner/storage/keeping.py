"""Which of a study's transfers keep the weights they end in."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from search_spaces.finished.weights import Weights
from search_spaces.grid import TransferCell
from tuner.runtime.console import volume
from tuner.runtime.settings import Keep
from tuner.scheduling.worklist import Worklist

SHARE = 0.1
"""Of the free disk: weights that take more are kept only where that is asked for."""


def judged_only(work: Worklist) -> set[str]:
    """The missing transfers whose weights are kept: judging them takes no training."""
    kept = work.ledger.keys(Weights)
    if not kept:
        return set()
    missing = ((n, c) for n, c in work.wanted.items() if n not in work.complete)
    return {name for name, cell in missing if cell.weights_key in kept}


def kept_share(cells: Iterable[TransferCell]) -> float:
    """The weights that transfers keep, in numbers of a dense network's."""
    return sum(1 - cell.ticket_cell.sparsity for cell in cells)


def keeps(choice: Keep | None, work: Worklist, say: Callable[[str], None]) -> bool:
    """Are weights kept while a study runs? Without a choice, where all of them take no more than a
    tenth of the free disk; where they take more, `say` is told. To be asked when a theta is there:
    its weights tell the size."""
    if choice is not None:
        return choice != "none"
    files = (work.ledger.folder(cell.theta) for cell in work.grid.thetas.values())
    dense = next((_size(file) for file in files if file.is_dir()), 0)
    missing = [cell for name, cell in work.wanted.items() if name not in work.complete]
    expected, free = dense * kept_share(missing), shutil.disk_usage(work.ledger.root).free
    if expected <= SHARE * free:
        return True
    say(
        f"weights of transfers are not kept: {volume(expected)}, more than a tenth of the "
        f"{volume(free)} that are free (--keep-weights all or winners keeps them)"
    )
    return False


def of_study(work: Worklist, spared: Callable[[TransferCell], bool] | None = None) -> list[Path]:
    """The folders of the weights that a study's transfers keep, but of those that are spared."""
    kept = work.ledger.keys(Weights)
    if not kept:
        return []
    cells = list(work.grid.transfers.values())
    of = {cell.weights_key for cell in cells if not (spared and spared(cell))}
    of -= {cell.weights_key for cell in cells if spared and spared(cell)}
    return sorted(work.ledger.folders_of(Weights, of & kept))


def _size(theta: Path) -> int:
    return (theta / "weights.safetensors").stat().st_size
