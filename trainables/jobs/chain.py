"""A chain: one theta and all the tickets that start from it, computed in one go."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from search_spaces.base import Spec
from search_spaces.spec import Theta, Ticket
from search_spaces.study import PruningPlan
from trainables.data import datasets
from trainables.jobs.theta import Worker, distributed, keeper, make_theta, network
from trainables.pruning import tickets
from trainables.pruning.masks import Mask, State, counts, layer_sparsity, ones
from trainables.runtime.seeding import derived
from trainables.store.checkpoints import Records
from trainables.store.records import now, provenance
from trainables.store.tensors import read, to_bytes
from trainables.training.loop import Epoch, Progress, fit
from trainables.training.ranks import from_first


class Chain(Spec):
    """A theta and its prunings."""

    theta: Theta
    plans: tuple[PruningPlan, ...]

    def plan_tickets(self, plan: PruningPlan) -> list[Ticket]:
        """A plan's tickets, by ascending level."""
        return [
            Ticket(theta=self.theta, pruning=plan.pruning, level=level)
            for level in plan.made_levels
        ]

    @property
    def results(self) -> list[Theta | Ticket]:
        """The theta and every ticket."""
        return [self.theta, *(t for plan in self.plans for t in self.plan_tickets(plan))]


def run_chain(chain: Chain, worker: Worker) -> Iterator[Theta | Ticket]:
    """Computes what the ledger lacks of a chain, yielding the spec of each result as it is found.

    With several processes, every one runs this with its own shard and the default process group
    set up; all compute the same, yield the same, and the first writes.

    Raises FloatingPointError, when all else is done, for prunings whose re-training diverged: the
    tickets from there on cannot be made. For a theta that diverged without a validated state, at
    once.
    """
    wanted = chain.results
    # The first process looks once for all: later the ledger changes under the others' eyes.
    present = from_first([worker.ledger.has(spec) for spec in wanted])
    missing = {spec for spec, has in zip(wanted, present, strict=True) if not has}
    if chain.theta in missing:
        theta = make_theta(chain.theta, worker)
        yield chain.theta
    else:
        theta = read(worker.ledger.file(chain.theta, "weights.safetensors"))
    diverged = []
    for plan in chain.plans:
        try:
            yield from _prune(chain, plan, theta, missing, worker)
        except FloatingPointError as error:
            diverged.append(str(error))
    if diverged:
        raise FloatingPointError("; ".join(diverged))


def _prune(
    chain: Chain,
    plan: PruningPlan,
    theta: State,
    missing: set[Theta | Ticket],
    worker: Worker,
) -> Iterator[Ticket]:
    """Writes a plan's missing tickets, yielding each."""
    started = now()
    by_level = {ticket.level: ticket for ticket in chain.plan_tickets(plan)}
    absent = {level for level, ticket in by_level.items() if ticket in missing}
    for level, mask, records in _masks(chain, plan, theta, absent, worker):
        if worker.shard.rank == 0:
            made = provenance(started, worker.device, worker.shard.world, records)
            result = {**_mask_record(mask), **made}
            files = {"mask.safetensors": to_bytes(mask)}
            worker.ledger.write(by_level[level], result, files)
            keeper(by_level[level], worker).drop()
        yield by_level[level]
        started = now()


def _masks(
    chain: Chain,
    plan: PruningPlan,
    theta: State,
    absent: set[int],
    worker: Worker,
) -> Iterator[tuple[int, Mask, Records]]:
    """(level, mask, records of the re-training behind it) for the absent levels."""
    spec, records = chain.theta, Records()
    dense = ones(network(spec, torch.device("cpu")))
    if plan.method == "random":
        for k in sorted(absent):
            yield k, tickets.at_random(dense, plan.pruning, k), records
    elif plan.method == "one_shot":
        for k in sorted(absent):
            yield k, tickets.one_shot(theta, dense, plan.pruning, k), records
    elif absent:
        found = min(absent) - 1
        start = None
        if found:
            ticket = Ticket(theta=spec, pruning=plan.pruning, level=found)
            start = found, read(worker.ledger.file(ticket, "mask.safetensors"))

        def retrain(weights: State, mask: Mask, level: int) -> Mapping[str, Tensor]:
            nonlocal records
            trained, records = _retrain(spec, plan, weights, mask, level, worker)
            return trained

        made = tickets.imp(theta, dense, plan.pruning, max(absent), retrain, start, from_first)
        for k, mask in made:
            yield k, mask, records


def _retrain(
    spec: Theta, plan: PruningPlan, weights: State, mask: Mask, level: int, worker: Worker
) -> tuple[Mapping[str, Tensor], Records]:
    """(weights, records of its epochs) after one round's re-training on the source. Raises
    FloatingPointError, saying which, if it diverges."""
    assert plan.retraining is not None, "the spec demands it of method imp"
    net = network(spec, worker.device)
    net.load_state_dict(weights)
    regime, seed = plan.retraining, derived(plan.seed, "imp", level)

    def train(resume: Progress | None) -> Iterator[Epoch]:
        return fit(
            distributed(net, worker),
            datasets.splits(spec.dataset),
            regime,
            seed,
            mask=mask,
            augmentation=spec.dataset.augment,
            shard=worker.shard,
            resume=resume,
        )

    # What is trained here is pruned to the next level's ticket.
    records = Records()
    ahead = Ticket(theta=spec, pruning=plan.pruning, level=level + 1)
    try:
        for _, latest in keeper(ahead, worker).epochs(train, regime.recipe.epochs):
            records = latest
    except FloatingPointError as error:
        raise FloatingPointError(
            f"{plan.method}, re-training of level {level} {error}: lower its lr; there is no "
            f"ticket from level {level + 1} on"
        ) from None
    return net.state_dict(), records


def _mask_record(mask: Mask) -> dict[str, Any]:
    kept, total = counts(mask)
    return {
        "state": "complete",
        "kept": kept,
        "total": total,
        "sparsity": 1 - kept / total,
        "layers": layer_sparsity(mask),
    }
