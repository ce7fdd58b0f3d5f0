"""From a study to the list of everything it trains."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from search_spaces.grid.cells import DENSE, ThetaCell, TicketCell, TransferCell
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket, Transfer
from search_spaces.study import Downstream, Only, Study


@dataclass(frozen=True)
class Grid:
    """All that a study may ask for, by content key, in the study's order: pre-trainings and what is
    trained for checks, pruned tickets, and transfers, also those that its level searches may never
    choose."""

    thetas: dict[str, ThetaCell]
    tickets: dict[str, TicketCell]
    transfers: dict[str, TransferCell]

    @property
    def sources(self) -> dict[str, Theta | Ticket]:
        """Everything that the source stage makes."""
        thetas = {name: cell.theta for name, cell in self.thetas.items()}
        return thetas | {name: cell.ticket for name, cell in self.tickets.items()}

    @cached_property
    def behind(self) -> dict[str, tuple[str, ...]]:
        """By a transfer's key, those of all that it waits for: the ticket that it starts from (its
        theta, where it is dense), and the networks trained for its checks."""
        cells = self.transfers.items()
        dense = {
            c.ticket_cell.key: c.ticket_cell.ticket.theta
            for _, c in cells
            if not c.ticket_cell.level
        }
        thetas = {name: key(theta) for name, theta in dense.items()}
        return {
            name: (
                thetas.get(cell.ticket_cell.key, cell.ticket_cell.key),
                *map(key, cell.transfer.surrogates),
            )
            for name, cell in cells
        }

    @property
    def keys(self) -> set[str]:
        """The keys of all of it."""
        return {*self.thetas, *self.tickets, *self.transfers}


def expand(study: Study) -> Grid:
    """Every pre-training, ticket and transfer of a study. Ten thousand transfers take a second:
    expand once, and hand it down."""
    every = transfers(study)
    return Grid(
        {cell.key: cell for cell in [*thetas(study), *surrogates(every)]},
        {cell.key: cell for cell in tickets(study)},
        {cell.key: cell for cell in every},
    )


def thetas(study: Study) -> list[ThetaCell]:
    """Every pre-training of a study, in the study's order, by each of its source seeds."""
    source = study.source
    evaluation = (source.evaluation or study.evaluation).of_each
    return [
        ThetaCell(
            name,
            Theta(
                dataset=source.dataset,
                model=source.model,
                pretraining=pretraining,
                evaluation=evaluation,
                seed=seed,
            ),
            seed == source.seeds[0],
        )
        for name, pretraining in source.pretrainings.items()
        for seed in source.seeds_of(name)
    ]


def tickets(study: Study) -> list[TicketCell]:
    """Every pruned ticket of a study: by pre-training and source seed, then pruning, then ascending
    level, then, where masks are drawn at random, the seed of the transfers."""
    found = []
    for cell in thetas(study):
        for name, plan in study.prunings(cell.pretraining, cell.theta.seed).items():
            draws = plan.draws(study.seeds).items()
            for level, (seed, drawn) in product(plan.made_levels, draws):
                found.append(cell.ticket(name, drawn.pruning, level, seed))
    return found


def transfers(study: Study) -> list[TransferCell]:
    """Every transfer of a study, each once: the dense network is shared by all prunings.

    Of a task whose levels are searched for, all that the search may choose (`optional`).
    """
    dense = [cell.dense for cell in thetas(study)]
    return list(_transfers(study, dense + tickets(study)))


def _transfers(study: Study, cells: list[TicketCell]) -> Iterator[TransferCell]:
    for task in study.downstream:
        evaluation = (task.evaluation or study.evaluation).of_each
        for name, regime in task.regimes.items():
            for cell in cells:
                if not task.has_level(cell.level) or not _covers(regime.only, cell):
                    continue
                checks = [
                    c.check for c in task.checks if name in c.regimes and _covers(c.only, cell)
                ]
                for fraction in task.fractions:
                    for seed in task.all_seeds:
                        if cell.replicate not in (None, seed):
                            continue
                        transfer = Transfer(
                            ticket=cell.ticket,
                            dataset=task.dataset,
                            fraction=fraction,
                            subset=task.subset,
                            regime=regime.regime,
                            evaluation=evaluation,
                            seed=seed,
                            checks=tuple(dict.fromkeys(checks)) or None,
                        )
                        yield TransferCell(cell, name, transfer, task)


def surrogates(cells: Iterable[TransferCell]) -> list[ThetaCell]:
    """What is trained for the checks of some transfers, each once. Its name is no pre-training's:
    theirs have no blanks."""
    named = {
        theta: f"surrogate for {theta.dataset.title}"
        for cell in cells
        for theta in cell.transfer.surrogates
    }
    return [ThetaCell(name, theta) for theta, name in named.items()]


def margin(study: Study, dataset: str, fraction: float) -> float:
    """The margin of non-inferiority of a task, in [0, 1], by its labels."""
    return _task(study, dataset, fraction).margin


def first_seeds(study: Study, dataset: str, fraction: float) -> int | None:
    """With how many seeds of the dense network a task's search begins; None where levels are
    given."""
    task = _task(study, dataset, fraction)
    return len(task.seeds) if task.adaptive else None


def ladder(
    study: Study, theta: str, pruning: str, dataset: str, fraction: float
) -> tuple[int, ...] | None:
    """The levels that a search may try, ascending, without dense; None where levels are given."""
    task = _task(study, dataset, fraction)
    plan = study.pruning[pruning]
    if not task.adaptive or not plan.starts_from(theta):
        return None
    return tuple(level for level in plan.made_levels if task.has_level(level))


def _task(study: Study, dataset: str, fraction: float) -> Downstream:
    return next(
        task
        for task in study.downstream
        if task.dataset.title == dataset and fraction in task.fractions
    )


def _covers(only: Only, cell: TicketCell) -> bool:
    """The dense network belongs to every pruning."""
    return (
        (only.levels is None or cell.level in only.levels)
        and (only.pretrainings is None or cell.pretraining in only.pretrainings)
        and (only.pruning is None or cell.pruning in (*only.pruning, DENSE))
    )
