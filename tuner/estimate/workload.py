"""A study's work, counted: chains by their steps, transfers by their kind. Loads no torch."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean

from search_spaces.study import PruningPlan, Study
from trainables.estimate.work import (
    Net,
    Steps,
    TransferKind,
    add,
    net,
    retraining_steps,
    sizes,
    theta_steps,
    transfer_kind,
)
from tuner.scheduling.worklist import Agenda
from tuner.storage.state import Standing


@dataclass(frozen=True)
class Chain:
    """What one fit of the source stage makes: steps of one process, and results."""

    net: Net
    steps: Steps
    thetas: int
    tickets: int


@dataclass(frozen=True)
class Workload:
    """seeds: the mean number of seeds a transfer has in the whole study."""

    chains: list[Chain]
    transfers: Counter[TransferKind]
    seeds: float

    @staticmethod
    def test_images(kind: TransferKind) -> int:
        """Images that a transfer of the kind is judged on."""
        return sizes(kind.dataset).test


def workload(study: Study, standing: Standing, workers: int, whole: bool = False) -> Workload:
    """The work that is missing of a study; with `whole`, as if nothing were complete. Searches of
    levels count as if they used up their budgets."""
    left = Counter(
        transfer_kind(cell.transfer) for cell, done in standing.transfers if whole or not done
    )
    left += _to_come(standing.agenda)
    seeds = fmean(len(task.seeds) for task in study.downstream)
    return Workload(_chains(study, standing, workers, whole), left, seeds)


def _to_come(agenda: Agenda) -> Counter[TransferKind]:
    """What open searches may still ask for: as much of each kind that they have asked for."""
    found: Counter[TransferKind] = Counter()
    for search in filter(agenda.schedule.open, agenda.searches):
        kinds = dict.fromkeys(transfer_kind(agenda.cells[job].transfer) for job in search.jobs)
        left = search.search.plan.budget - len(search.jobs)
        for place, kind in enumerate(kinds):
            found[kind] += left // len(kinds) + (place < left % len(kinds))
    return found


def _chains(study: Study, standing: Standing, workers: int, whole: bool) -> list[Chain]:
    absent: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for cell, done in standing.tickets:
        if whole or not done:
            absent[cell.pretraining, cell.pruning].append(cell.level)
    found = []
    for theta_cell, done in standing.thetas:
        theta, name = theta_cell.theta, theta_cell.pretraining
        to_make = whole or not done
        steps = theta_steps(theta, workers) if to_make else {}
        for pruning, plan in study.pruning.items():
            times = retrainings(plan, absent[name, pruning])
            if times and plan.retraining:
                add(steps, retraining_steps(theta, plan.retraining, workers), times)
        tickets = sum(len(absent[name, pruning]) for pruning in study.pruning)
        if to_make or tickets:
            found.append(Chain(net(theta.model, theta.dataset), steps, int(to_make), tickets))
    return found


def retrainings(plan: PruningPlan, absent: list[int]) -> int:
    """How often IMP re-trains to make the absent levels: it starts from the last one there is
    before them, re-trains neither theta itself nor the last ticket."""
    if plan.method != "imp" or not absent:
        return 0
    return max(absent) - max(1, min(absent) - 1)
