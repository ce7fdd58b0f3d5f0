"""The source stage's work: what the ledger lacks of each chain, a theta with all its tickets."""

from collections.abc import Collection

from search_spaces.grid import ThetaCell
from search_spaces.keys import key
from search_spaces.study import PruningPlan
from trainables.jobs.chain import Chain
from trainables.store.ledger import Ledger
from tuner.scheduling.worklist import Worklist


def unfinished(work: Worklist, given_up: Collection[str] = ()) -> list[Chain]:
    """The chains of which the ledger lacks something. A key that is given up ends its theta or its
    pruning; the theta's other prunings go on."""
    found = (remaining(cell, work, given_up) for cell in work.grid.thetas.values())
    return sorted(filter(None, found), key=_passes, reverse=True)


def remaining(cell: ThetaCell, work: Worklist, given_up: Collection[str]) -> Chain | None:
    """A theta's chain, what is given up left out; None if it has nothing to make."""
    ledger, theta = work.ledger, Chain(theta=cell.theta, plans=())
    if next_missing(theta, ledger) in given_up:
        return None
    plans = sorted(work.study.plans(cell.pretraining, cell.theta.seed), key=_retrained)
    own = [Chain(theta=cell.theta, plans=(plan,)) for plan in plans]
    kept = [c.plans[0] for c in own if next_missing(c, ledger) not in given_up]
    chain = Chain(theta=cell.theta, plans=tuple(kept))
    return chain if next_missing(chain, ledger) else None


def next_missing(chain: Chain, ledger: Ledger) -> str:
    """The key of what a chain makes next; empty if it is complete."""
    return next((key(spec) for spec in chain.results if not ledger.has(spec)), "")


def beyond_reach(work: Worklist, given_up: Collection[str]) -> set[str]:
    """The keys of a study that are given up, and those of all that waits for one of them."""
    given_up = work.grid.keys & set(given_up)
    if not given_up:
        return set()
    made = {spec for chain in unfinished(work, given_up) for spec in chain.results}
    lost = {
        spec: name
        for name, spec in work.grid.sources.items()
        if spec not in made and not work.ledger.has(spec)
    }
    waiting = (
        name
        for name, cell in work.grid.transfers.items()
        if any(
            spec in lost
            for spec in (
                cell.transfer.ticket.theta,
                cell.transfer.ticket,
                *cell.transfer.surrogates,
            )
        )
    )
    return {*given_up, *lost.values(), *waiting}


def _passes(chain: Chain) -> int:
    """Passes over the source's images: the longest chain starts first, for a short end."""
    regime = chain.theta.pretraining.train
    return (regime.passes if regime else 0) + sum(map(_retrained, chain.plans))


def _retrained(plan: PruningPlan) -> int:
    """Passes over the source's images in a pruning: what takes none comes first, for its transfers
    to start early."""
    trainings = plan.rounds - 1 if plan.rounds else len(plan.made_levels)
    return trainings * plan.retraining.passes if plan.retraining else 0
