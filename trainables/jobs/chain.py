"""A chain: one theta and all the tickets that start from it, computed in one go."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from search_spaces.base import Spec
from search_spaces.spec import Theta, Ticket
from search_spaces.study import PruningPlan
from trainables.data import datasets
from trainables.jobs import learning, scoring
from trainables.jobs.outcome import Outcome, outcome
from trainables.jobs.taking_over import take_over
from trainables.jobs.theta import (
    Worker,
    after_epoch,
    checkpoint_of,
    distributed,
    make_theta,
    network,
    shape,
)
from trainables.pruning import tickets
from trainables.pruning.collapse import empty_layers, is_cut
from trainables.pruning.masks import Mask, State, counts, layer_sparsity, ones
from trainables.runtime.seeding import derived
from trainables.store.records import now, provenance
from trainables.store.tensors import read, to_bytes
from trainables.training.loop import Epoch, Progress, fit, snapshot
from trainables.training.ranks import from_first
from trainables.training.recipes.schedule import at_its_end


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
    """Computes what the ledger lacks of a chain, yielding the spec of each result as it is found:
    first what was trained before and was judged otherwise, then what has to be trained.

    With several processes, every one runs this with its own shard and the default process group
    set up; all compute the same, yield the same, and the first writes.

    Raises FloatingPointError, when all else is done, for prunings whose re-training diverged: the
    tickets from there on cannot be made. For a theta that diverged without a validated state, at
    once.
    """
    wanted = chain.results
    # The first process looks once for all: later the ledger changes under the others' eyes.
    present = from_first([worker.ledger.has(spec) for spec in wanted])
    absent = [spec for spec, has in zip(wanted, present, strict=True) if not has]
    taken = take_over(absent, worker)
    yield from taken
    missing = {*absent} - {*taken}
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
    net = network(chain.theta, worker.device)
    for made in _tickets(net, chain, plan, theta, absent, worker):
        ticket = by_level[made.level]
        if worker.shard.rank == 0:
            behind = made.behind.records if made.behind else []
            result = {
                **_mask_record(made.mask, is_cut(net, made.weights, made.mask, shape(chain.theta))),
                **_remark(made.behind),
                **({"rewound": made.rewound} if made.rewound else {}),
                **provenance(started, worker.device, worker.shard.world, behind),
            }
            files = {"mask.safetensors": to_bytes(made.mask)}
            if ticket.start is ticket:
                files["weights.safetensors"] = to_bytes(made.weights)
            worker.ledger.write(ticket, result, files)
            checkpoint_of(ticket, worker).remove()
        yield ticket
        started = now()


class _Made(NamedTuple):
    """A ticket as it is made. weights: of which it has those under the mask; behind: the
    re-training behind it, if there is one; rewound: what its result says of late weights."""

    level: int
    mask: Mask
    weights: Mapping[str, Tensor]
    rewound: dict[str, Any] | None
    behind: Outcome | None = None


def _tickets(
    net: nn.Module,
    chain: Chain,
    plan: PruningPlan,
    theta: State,
    absent: set[int],
    worker: Worker,
) -> Iterator[_Made]:
    """The tickets of the absent levels; of imp, of all levels from the first that is absent."""
    spec, levels = chain.theta, sorted(absent)
    if plan.method == "imp":
        yield from _in_rounds(net, chain, plan, theta, levels, worker)
        return
    weights, rewound = _rewound(spec, plan, theta, worker)
    if plan.method == "hydra":
        for level, mask, behind in learning.masks(spec, plan.pruning, theta, levels, worker):
            yield _Made(level, mask, weights, rewound, behind)
        return
    for level, mask in scoring.masks(net, spec, plan.pruning, theta, levels, worker):
        yield _Made(level, mask, weights, rewound)


def _in_rounds(
    net: nn.Module,
    chain: Chain,
    plan: PruningPlan,
    theta: State,
    levels: list[int],
    worker: Worker,
) -> Iterator[_Made]:
    spec, ledger = chain.theta, worker.ledger
    behind: Outcome | None = None
    if last := levels[0] - 1:
        ticket = Ticket(theta=spec, pruning=plan.pruning, level=last)
        mask, weights = (
            read(ledger.file(each, name))
            for each, name in ((ticket, "mask.safetensors"), (ticket.start, "weights.safetensors"))
        )
        rewound = ledger.result(ticket).get("rewound")
    else:
        mask, (weights, rewound) = ones(net), _rewound(spec, plan, theta, worker)

    def retrain(weights: State, mask: Mask, level: int) -> State:
        nonlocal behind
        trained, behind = _retrain(spec, plan, weights, mask, level, worker)
        return trained

    start, pruning = tickets.Found(last, mask, weights), plan.pruning
    channels = scoring.channels(net, spec, pruning)
    for found in tickets.imp(theta, start, pruning, levels[-1], retrain, channels, from_first):
        yield _Made(*found, rewound, behind)


def _rewound(
    spec: Theta, plan: PruningPlan, theta: State, worker: Worker
) -> tuple[State, dict[str, Any] | None]:
    """(weights that a theta's tickets have at first, what their results say of them)."""
    if plan.rewind_epoch is None:
        return theta, None
    weights, repeated = after_epoch(spec, plan.rewind_epoch, worker)
    return weights, {"epoch": plan.rewind_epoch, "repeats_pretraining": repeated}


def _retrain(
    spec: Theta, plan: PruningPlan, weights: State, mask: Mask, level: int, worker: Worker
) -> tuple[State, Outcome]:
    """(weights after one round's re-training on the source, its outcome): its last weights, or,
    where it ended in catastrophic overfitting, those of its best epoch. Raises
    FloatingPointError, saying which, if it diverges."""
    assert plan.retraining is not None, "the spec demands it of method imp"
    net = network(spec, worker.device)
    net.load_state_dict(weights)
    regime, seed = plan.retraining, derived(plan.seed, "imp", level)
    if plan.rewind == "none":
        regime = regime.model_copy(update={"recipe": at_its_end(regime.recipe)})

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
    return snapshot(net), reached


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
