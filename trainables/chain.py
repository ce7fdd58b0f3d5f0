"""A chain: one theta and all the tickets that start from it, computed in one go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from search_spaces.base import Spec
from search_spaces.regimes import Regime
from search_spaces.spec import Checkpoint, Theta, Ticket
from search_spaces.study import PruningPlan
from trainables import checkpoints, datasets, models, overfitting, tickets
from trainables.evaluation import judge_test
from trainables.ledger import Ledger
from trainables.masks import Mask, State, counts, layer_sparsity, ones
from trainables.progress import Keeper, Records
from trainables.records import Moment, accumulated, now, provenance, signals
from trainables.seeding import derived
from trainables.training import Best, Epoch, Progress, Shard, fit
from trainables.weights import read, to_bytes


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


@dataclass(frozen=True)
class Worker:
    """One process of a chain: where results go, which share of each batch, on which device, and in
    how many parts a batch is taken from the start."""

    ledger: Ledger
    shard: Shard
    device: torch.device
    parts: int = 1


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
    missing = {spec for spec, has in zip(wanted, _agreed(wanted, worker), strict=True) if not has}
    if chain.theta in missing:
        theta = _make_theta(chain.theta, worker)
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


def _agreed(wanted: list[Theta | Ticket], worker: Worker) -> list[bool]:
    present = [worker.ledger.has(spec) for spec in wanted]
    if worker.shard.world > 1:
        dist.broadcast_object_list(present, 0)
    return present


def _make_theta(spec: Theta, worker: Worker) -> State:
    pretraining = spec.pretraining
    if pretraining.load is not None:
        return _load(spec, pretraining.load, worker)
    assert pretraining.train is not None, "the spec demands one of the two"
    return _pretrain(spec, pretraining.train, worker)


def _load(spec: Theta, checkpoint: Checkpoint, worker: Worker) -> State:
    """Reads published weights, writes them with their scores on the source's validation images,
    and returns them. Raises InputError for weights that do not fit the network."""
    started = now()
    net = _network(spec, worker.device)
    state = checkpoints.state_for(checkpoint, spec.model, net)
    if worker.shard.rank == 0:
        net.load_state_dict(state)
        val = datasets.splits(spec.dataset).val.to(worker.device)
        result = {
            "state": "complete",
            "source_val": judge_test(net, val, spec.evaluation).scores.model_dump(),
            **provenance(started, worker.device, worker.shard.world),
        }
        worker.ledger.write(spec, result, {"weights.safetensors": to_bytes(state)})
    return state


def _pretrain(spec: Theta, regime: Regime, worker: Worker) -> State:
    """Trains a theta, writes its best state by validation with its scores, and returns it. One that
    diverges counts by its best state before."""
    started = now()
    data = datasets.splits(spec.dataset)
    net = _network(spec, worker.device)
    keeper = _keeper(spec, worker)
    state, reason = "complete", dict[str, str]()
    best: Best | None = None
    records: Records = []

    def train(resume: Progress | None) -> Iterator[Epoch]:
        return fit(
            _distributed(net, worker),
            data,
            regime,
            spec.seed,
            evaluation=spec.evaluation,
            augmentation=spec.dataset.augment,
            shard=worker.shard,
            resume=resume,
            parts=worker.parts,
        )

    try:
        for epoch, records in keeper.epochs(train, regime.recipe.epochs):
            best = epoch.best
            if overfitting.must_stop(signals(records), regime.containment):
                state = "co_stopped"
                break
    except FloatingPointError as error:
        if not records:
            best, records = keeper.left()
        if best is None:
            raise FloatingPointError(
                f"pre-training {error}, before its first validation: lower lr; no ticket starts "
                "from it"
            ) from None
        state, reason = "diverged", {"reason": str(error)}
    if best is None:
        raise RuntimeError("collapsed before the first validation: lower validate_from or epsilon")
    if worker.shard.rank == 0:
        net.load_state_dict(best.state)
        judgement = judge_test(net, data.test.to(worker.device), spec.evaluation)
        result = {
            "state": state,
            "test": judgement.scores.model_dump(),
            "best_epoch": best.epoch,
            "epochs": records,
            **reason,
            **accumulated(records),
            **provenance(started, worker.device, worker.shard.world),
        }
        worker.ledger.write(spec, result, {"weights.safetensors": to_bytes(best.state)})
        keeper.drop()
    return best.state


def _prune(
    chain: Chain,
    plan: PruningPlan,
    theta: State,
    missing: set[Theta | Ticket],
    worker: Worker,
) -> Iterator[Ticket]:
    """Writes a plan's missing tickets, yielding each."""
    started = now()
    short: dict[str, int] = {}  # the mark of the re-training behind the latest mask
    by_level = {ticket.level: ticket for ticket in chain.plan_tickets(plan)}
    absent = {level for level, ticket in by_level.items() if ticket in missing}
    for level, mask in _masks(chain, plan, theta, absent, worker, short):
        mask = _same_everywhere(mask, worker)
        if worker.shard.rank == 0:
            result = {**_mask_record(mask), **short, **_provenance(started, worker)}
            files = {"mask.safetensors": to_bytes(mask)}
            worker.ledger.write(by_level[level], result, files)
            _keeper(by_level[level], worker).drop()
        yield by_level[level]
        started = now()


def _masks(
    chain: Chain,
    plan: PruningPlan,
    theta: State,
    absent: set[int],
    worker: Worker,
    short: dict[str, int],
) -> Iterator[tuple[int, Mask]]:
    spec = chain.theta
    dense = ones(_network(spec, torch.device("cpu")))
    if plan.method == "random":
        yield from ((k, tickets.at_random(dense, plan.pruning, k)) for k in sorted(absent))
    elif plan.method == "one_shot":
        yield from ((k, tickets.one_shot(theta, dense, plan.pruning, k)) for k in sorted(absent))
    elif absent:
        found = min(absent) - 1
        start = None
        if found:
            ticket = Ticket(theta=spec, pruning=plan.pruning, level=found)
            start = found, read(worker.ledger.file(ticket, "mask.safetensors"))

        def retrain(weights: State, mask: Mask, level: int) -> Mapping[str, Tensor]:
            trained, records = _retrain(spec, plan, weights, mask, level, worker)
            short.clear()
            short.update(accumulated(records))
            return trained

        yield from tickets.imp(theta, dense, plan.pruning, max(absent), retrain, start)


def _retrain(
    spec: Theta, plan: PruningPlan, weights: State, mask: Mask, level: int, worker: Worker
) -> tuple[Mapping[str, Tensor], Records]:
    """(weights, records of its epochs) after one round's re-training on the source. Raises
    FloatingPointError, saying which, if it diverges."""
    assert plan.retraining is not None, "the spec demands it of method imp"
    net = _network(spec, worker.device)
    net.load_state_dict(weights)
    regime, seed = plan.retraining, derived(plan.seed, "imp", level)

    def train(resume: Progress | None) -> Iterator[Epoch]:
        return fit(
            _distributed(net, worker),
            datasets.splits(spec.dataset),
            regime,
            seed,
            mask=mask,
            augmentation=spec.dataset.augment,
            shard=worker.shard,
            resume=resume,
            parts=worker.parts,
        )

    # What is trained here is pruned to the next level's ticket.
    ahead = Ticket(theta=spec, pruning=plan.pruning, level=level + 1)
    records: Records = []
    try:
        for _, latest in _keeper(ahead, worker).epochs(train, regime.recipe.epochs):
            records = latest
    except FloatingPointError as error:
        raise FloatingPointError(
            f"{plan.method}, re-training of level {level} {error}: lower its lr; there is no "
            f"ticket from level {level + 1} on"
        ) from None
    return net.state_dict(), records


def _keeper(spec: Theta | Ticket, worker: Worker) -> Keeper:
    """Where the training behind a result keeps its progress; the first process writes it."""
    return Keeper(worker.ledger.unfinished(spec), writes=worker.shard.rank == 0)


def _network(spec: Theta, device: torch.device) -> models.ResNet:
    data = datasets.splits(spec.dataset)
    own = spec.model.normalisation
    mean, std = (own.mean, own.std) if own else (data.mean, data.std)
    net = models.build(spec.model, data.classes, mean, std, derived(spec.seed, "init"))
    return net.to(device)


def _distributed(net: nn.Module, worker: Worker) -> nn.Module:
    if worker.shard.world == 1:
        return net
    return DistributedDataParallel(net)


def _same_everywhere(mask: Mask, worker: Worker) -> Mask:
    """The first process's mask, in every process."""
    if worker.shard.world == 1:
        return mask
    shared = {}
    for name, m in mask.items():
        bits = m.to(device=worker.device, dtype=torch.uint8)
        dist.broadcast(bits, 0)
        shared[name] = bits.bool().cpu()
    return shared


def _mask_record(mask: Mask) -> dict[str, Any]:
    kept, total = counts(mask)
    return {
        "state": "complete",
        "kept": kept,
        "total": total,
        "sparsity": 1 - kept / total,
        "layers": layer_sparsity(mask),
    }


def _provenance(started: Moment, worker: Worker) -> dict[str, Any]:
    return provenance(started, worker.device, worker.shard.world)
