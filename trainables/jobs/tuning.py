"""One trial of a search: trained on training images, scored on validation images."""

from collections.abc import Iterator
from functools import partial
from statistics import fmean
from typing import Any

import torch

from search_spaces.spec import Ticket
from search_spaces.study import PruningPlan
from search_spaces.trials import Trial
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.outcome import Outcome, outcomes
from trainables.jobs.theta import Worker
from trainables.store.ledger import Ledger
from trainables.store.records import now, provenance
from trainables.training.ranks import Shard


def run(spec: Trial, ledger: Ledger, device: torch.device) -> Iterator[dict[str, Any]]:
    """Trains a trial's seeds side by side, yielding after each epoch the result so far.

    A result has `best` (sa and ra, each the mean over seeds of the best state's validation
    accuracy so far, in [0, 1]), `seeds` (the same seed by seed), `epochs` (means over seeds),
    `state` (`running` until the last one) and provenance. A ticket that the ledger lacks is made
    first. Raises FloatingPointError when a loss is not finite.
    """
    started = now()
    make_ticket(spec.ticket, ledger, device)
    tasks = [transfer.prepare(t, ledger, device, with_test=False) for t in spec.transfers]
    trainings = [outcomes(partial(transfer.train, task), spec.regime) for task in tasks]
    reached: dict[int, Outcome] = {}
    records: list[dict[str, Any]] = []
    live = list(range(len(tasks)))
    while live:
        for place in live:
            reached[place] = next(trainings[place])
            if reached[place].state == "diverged":
                raise FloatingPointError(reached[place].reason)
        records.append(mean([reached[place].last for place in live]))
        live = [place for place in live if not reached[place].ended]
        seeds = [_best(seed, reached[place]) for place, seed in enumerate(spec.seeds)]
        stopped = any(seed.state == "co_stopped" for seed in reached.values())
        finished = "co_stopped" if stopped else "complete"
        yield {
            "state": "running" if live else finished,
            "best": mean([seed["val"] for seed in seeds]),
            "seeds": seeds,
            "epochs": list(records),
            **provenance(started, device, epochs=records),
        }


def make_ticket(ticket: Ticket, ledger: Ledger, device: torch.device) -> None:
    """Makes an imp ticket whose rate is searched; others the source stage has made."""
    if ticket.pruning is None or ledger.has(ticket):
        return
    plan = PruningPlan(
        **{name: getattr(ticket.pruning, name) for name in type(ticket.pruning).model_fields},
        rounds=ticket.level,
    )
    for _ in run_chain(Chain(theta=ticket.theta, plans=(plan,)), Worker(ledger, Shard(), device)):
        pass


def mean(records: list[dict[str, Any]]) -> dict[str, Any]:
    """One record of the means of several, over the fields of all; nested ones field by field."""
    first = records[0]
    return {
        name: mean([record[name] for record in records])
        if isinstance(value, dict)
        else value
        if all(record[name] == value for record in records)
        else fmean(record[name] for record in records)
        for name, value in first.items()
        if all(name in record for record in records)
    }


def _best(seed: int, reached: Outcome) -> dict[str, Any]:
    best = reached.best
    assert best is not None, "every epoch of a trial is validated"
    val = best.scores.model_dump(exclude_none=True)
    return {"seed": seed, "best_epoch": best.epoch, "val": val}
