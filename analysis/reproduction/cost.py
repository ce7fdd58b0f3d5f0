"""What it takes to answer a question from nothing, in trainings."""

from collections.abc import Iterable

from analysis.reproduction.answers import Labels, Question
from search_spaces import grid
from search_spaces.grid import TransferCell
from search_spaces.study import Study

Labelled = tuple[Labels, TransferCell]


def labelled(study: Study) -> list[Labelled]:
    """A study's transfers with their labels."""
    return [(cell.labels, cell) for cell in grid.transfers(study)]


def trainings(question: Question, cells: Iterable[Labelled]) -> int:
    """How many trainings of a study a question needs, where nothing of it is done: transfers (of a
    level search, what it may ask for), networks for their checks, the re-trainings of tickets
    and of those before them, and thetas that are trained.

    cells: the study's transfers, as `labelled` gives them.
    """
    needed = [(labels, cell) for labels, cell in cells if question.needs(labels)]
    thetas = {_theta(labels): cell.transfer.ticket.theta for labels, cell in needed}
    count = sum(theta.pretraining.train is not None for theta in thetas.values())
    count += _retrainings(needed)
    if question.transferred:
        checks = {theta for _, cell in needed for theta in cell.transfer.surrogates}
        count += len(checks) + _transfers(needed)
    return count


def _theta(labels: Labels) -> tuple[str, int]:
    return labels["theta"], labels["source_seed"]


def _retrainings(needed: list[Labelled]) -> int:
    """IMP's ladders up to the sparsest ticket of each, whose first rung prunes theta itself; of
    scores that are trained, one for each ticket."""
    ladders: dict[object, int] = {}
    alone = set()
    for labels, cell in needed:
        pruning, level = cell.transfer.ticket.pruning, labels["level"]
        ladder = *_theta(labels), labels["pruning"]
        if pruning is None or pruning.retraining is None:
            continue
        if pruning.method == "imp":
            ladders[ladder] = max(ladders.get(ladder, 0), level)
        else:
            alone.add((*ladder, level))
    return len(alone) + sum(level - 1 for level in ladders.values())


def _transfers(needed: list[Labelled]) -> int:
    listed = sum(not cell.optional for _, cell in needed)
    searches = {
        (*_theta(labels), labels["pruning"], labels["dataset"], labels["fraction"]): cell.task
        for labels, cell in needed
        if cell.optional and labels["level"]
    }
    return listed + sum(task.adaptive.budget for task in searches.values() if task.adaptive)
