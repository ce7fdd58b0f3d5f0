"""A chain: one theta and all the tickets that start from it, computed in one go."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from search_spaces.base import Spec
from search_spaces.spec import Theta, Ticket
from search_spaces.study import PruningPlan
from trainables.data import datasets
from trainables.jobs import learning, scoring
from trainables.jobs.outcome import Outcome, outcome
from trainables.jobs.theta import Worker, checkpoint_of, distributed, make_theta, network
from trainables.pruning import tickets
from trainables.pruning.collapse import empty_layers, is_cut
from trainables.pruning.masks import Mask, State, counts, layer_sparsity, ones
from trainables.runtime.seeding import derived
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
    if not absent:
        return
    net, size = network(chain.theta, worker.device), chain.theta.dataset.size
    shape = (len(datasets.splits(chain.theta.dataset).mean), size, size)
    for level, mask, behind in _masks(net, chain, plan, theta, absent, worker):
        if worker.shard.rank == 0:
            records = behind.records if behind else []
            made = provenance(started, worker.device, worker.shard.world, records)
            cut = is_cut(net, theta, mask, shape)
            result = {**_mask_record(mask, cut), **_remark(behind), **made}
            files = {"mask.safetensors": to_bytes(mask)}
            worker.ledger.write(by_level[level], result, files)
            checkpoint_of(by_level[level], worker).remove()
        yield by_level[level]
        started = now()


def _masks(
    net: nn.Module,
    chain: Chain,
    plan: PruningPlan,
    theta: State,
    absent: set[int],
    worker: Worker,
) -> Iterator[tuple[int, Mask, Outcome | None]]:
    """(level, mask, the re-training behind it, if there is one) for the absent levels."""
    spec = chain.theta
    behind: Outcome | None = None
    if plan.method == "hydra":
        yield from learning.masks(spec, plan.pruning, theta, sorted(absent), worker)
    elif plan.method != "imp":
        for k, mask in scoring.masks(net, spec, plan.pruning, theta, sorted(absent), worker):
            yield k, mask, behind
    else:
        last = min(absent) - 1
        start = None
        if last:
            ticket = Ticket(theta=spec, pruning=plan.pruning, level=last)
            start = last, read(worker.ledger.file(ticket, "mask.safetensors"))

        def retrain(weights: State, mask: Mask, level: int) -> Mapping[str, Tensor]:
            nonlocal behind
            trained, behind = _retrain(spec, plan, weights, mask, level, worker)
            return trained

        made = tickets.imp(theta, ones(net), plan.pruning, max(absent), retrain, start, from_first)
        for k, mask in made:
            yield k, mask, behind


def _retrain(
    spec: Theta, plan: PruningPlan, weights: State, mask: Mask, level: int, worker: Worker
) -> tuple[Mapping[str, Tensor], Outcome]:
    """(weights after one round's re-training on the source, its outcome): its last weights, or,
    where it ended in catastrophic overfitting, those of its best epoch. Raises
    FloatingPointError, saying which, if it diverges."""
    assert plan.retraining is not None, "the spec demands it of method imp"
    net = network(spec, worker.device)
    net.load_state_dict(weights)
    regime, seed = plan.retraining, derived(plan.seed, "imp", level)

    def train(resume: Progress | None) -> Iterator[Epoch]:
        return fit(
            distributed(net, worker),
            datasets.splits_on(spec.dataset, worker.device),
            regime,
            seed,
            # Nothing is chosen by validation here, but what a collapse is watched by.
            evaluation=spec.evaluation if regime.containment else None,
            mask=mask,
            augmentation=spec.dataset.augment,
            shard=worker.shard,
            resume=resume,
        )

    # What is trained here is pruned to the next level's ticket.
    ahead = Ticket(theta=spec, pruning=plan.pruning, level=level + 1)
    reached = outcome(train, regime, checkpoint_of(ahead, worker))
    if reached.state == "diverged":
        raise FloatingPointError(
            f"{plan.method}, re-training of level {level} {reached.reason}: lower its lr; there is "
            f"no ticket from level {level + 1} on"
        )
    if reached.collapsed and reached.best:
        return reached.best.state, reached
    return net.state_dict(), reached


def _remark(behind: Outcome | None) -> dict[str, Any]:
    """What a ticket's result says of the re-training behind it, where that collapsed."""
    if behind is None or not behind.collapsed or behind.best is None:
        return {}
    return {"retraining": {"collapsed": True, "best_epoch": behind.best.epoch}}


def _mask_record(mask: Mask, cut: bool) -> dict[str, Any]:
    """How much a mask keeps; what it has emptied and whether it has cut the network, if so."""
    kept, total = counts(mask)
    lost = empty_layers(mask)
    return {
        **({"emptied": lost} if lost else {}),
        **({"cut": True} if cut else {}),
        "state": "complete",
        "kept": kept,
        "total": total,
        "sparsity": 1 - kept / total,
        "layers": layer_sparsity(mask),
    }
