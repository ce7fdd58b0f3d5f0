"""The source stage: thetas and tickets, one Ray Train fit a chain, chains side by side."""

import math
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from shutil import rmtree

from search_spaces.keys import key
from trainables.jobs.chain import Chain
from trainables.store.ledger import Ledger
from tuner.cluster import nodes
from tuner.cluster.capacity import Capacity
from tuner.scheduling.worklist import Worklist
from tuner.storage.failures import FailureReason, reason_of

_POLL_SECONDS = 0.5
# In what Ray Train says when others keep it waiting for resources.
_UNPLACED = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


def chains(work: Worklist, given_up: Collection[str] = ()) -> list[Chain]:
    """The chains of which the ledger lacks something. A key that is given up ends its theta or its
    pruning; the theta's other prunings go on."""
    ledger, unfinished = work.ledger, []
    for cell in work.grid.thetas.values():
        theta = Chain(theta=cell.theta, plans=())
        if _next_missing(theta, ledger) in given_up:
            continue
        plans = work.study.plans(cell.pretraining, cell.theta.seed)
        own = [Chain(theta=cell.theta, plans=(plan,)) for plan in plans]
        kept = [c.plans[0] for c in own if _next_missing(c, ledger) not in given_up]
        chain = Chain(theta=cell.theta, plans=tuple(kept))
        if _next_missing(chain, ledger):
            unfinished.append(chain)
    return sorted(unfinished, key=_passes, reverse=True)


def _next_missing(chain: Chain, ledger: Ledger) -> str:
    """The key of what a chain makes next; empty if it is complete."""
    return next((key(spec) for spec in chain.results if not ledger.has(spec)), "")


def beyond_reach(work: Worklist, given_up: Collection[str]) -> set[str]:
    """The keys of a study that are given up, and those of all that waits for one of them."""
    given_up = work.grid.keys & set(given_up)
    if not given_up:
        return set()
    made = {spec for chain in chains(work, given_up) for spec in chain.results}
    lost = {
        spec: name
        for name, spec in work.grid.sources.items()
        if spec not in made and not work.ledger.has(spec)
    }
    waiting = (
        name
        for name, cell in work.grid.transfers.items()
        if cell.transfer.ticket.theta in lost or cell.transfer.ticket in lost
    )
    return {*given_up, *lost.values(), *waiting}


def _passes(chain: Chain) -> int:
    """Passes over the source's images: the longest chain starts first, for a short end."""
    regimes = [(chain.theta.pretraining.train, 1)]
    regimes += [(plan.retraining, (plan.rounds or 1) - 1) for plan in chain.plans]
    return sum(times * regime.passes for regime, times in regimes if regime)


def run(
    work: Worklist,
    capacity: Capacity,
    made: Callable[[str], None],
    failed: Callable[[str, FailureReason], None],
    given_up: Collection[str] = (),
) -> None:
    """Computes what is missing but for what is given up, calling `made` in this thread with the key
    of each result as it appears, and `failed` with each that a chain ended in. The rest goes on:
    the other chains, and what else of a failed chain does not start from there."""
    lost = set(given_up)
    while todo := chains(work, lost):
        for name, why in _fits(todo, work, capacity, made):
            failed(name, why)
            lost.add(name)
        if work.ledger.fault():
            return


def _fits(
    todo: list[Chain],
    work: Worklist,
    capacity: Capacity,
    made: Callable[[str], None],
) -> list[tuple[str, FailureReason]]:
    """Runs chains side by side; returns the keys in which some ended, and why."""
    ledger = work.ledger
    waiting = {name: spec for name, spec in work.grid.sources.items() if not ledger.has(spec)}
    side_by_side = capacity.chains(len(todo))
    with ThreadPoolExecutor(side_by_side) as pool:
        fits = [pool.submit(_persist, chain, ledger, capacity, side_by_side) for chain in todo]
        running = set(fits)
        while running:
            running = wait(running, timeout=_POLL_SECONDS).not_done
            # The ledger tells what is done: a ticket shows the moment it is stored.
            for name, spec in list(waiting.items()):
                if ledger.has(spec):
                    del waiting[name]
                    made(name)
    ended = zip(todo, (fit.result() for fit in fits), strict=True)
    # All before what is missing is there, or the chain would not have come so far.
    return [(_next_missing(chain, ledger), why) for chain, why in ended if why]


def share(cpus: Sequence[float], processes: int) -> float:
    """The most CPUs, at most one, that each of so many processes can have on nodes with so many
    CPUs: a process is on one node."""
    wishes = {1.0, *(node / many for node in cpus for many in range(1, processes + 1))}
    # Ray counts in ten-thousandths.
    for wish in sorted((math.floor(1e4 * min(1.0, w)) / 1e4 for w in wishes), reverse=True):
        if wish and sum(int(node / wish + 1e-6) for node in cpus) >= processes:
            return wish
    raise ValueError(f"no CPUs for {processes} processes in {cpus}")


def _persist(
    chain: Chain, ledger: Ledger, capacity: Capacity, side_by_side: int
) -> FailureReason | None:
    """Runs one chain; returns why it failed, or None. It runs once more, from where the ledger has
    it, if a process of it has died: Ray itself tries again only once they all have started. Where
    there are several nodes, it runs again on what is left whenever a node is lost under it, and
    once more if it fails otherwise."""
    once_more = True
    while True:
        there = nodes.with_room(capacity.workers if capacity.on_gpus else 0)
        several = len(there) > 1
        each = share(nodes.having(there, "CPU"), side_by_side * capacity.workers)
        # Ray's own retry asks for what there was before.
        why = _fit(chain, ledger, capacity, each, retries=0 if several else 1)
        if why is None:
            return None
        if several and (_UNPLACED in why.trace or nodes.lost(there)):
            continue
        if not once_more or not (several or why.outside):
            return why
        once_more = False


def _fit(
    chain: Chain, ledger: Ledger, capacity: Capacity, cpus: float, retries: int
) -> FailureReason | None:
    """Runs one chain on Ray Train; returns why it failed, or None."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from trainables.jobs.source_worker import source_worker

    # A fresh name each time: Ray takes a known name for a finished run. The ledger resumes.
    name = f"source-{key(chain)}-{uuid.uuid4().hex[:8]}"
    storage = capacity.files
    trainer = TorchTrainer(
        source_worker,
        train_loop_config={"chain": chain.model_dump_json(), "storage": str(ledger.root)},
        scaling_config=ScalingConfig(
            num_workers=capacity.workers,
            use_gpu=capacity.on_gpus,
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if capacity.on_gpus else {})},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(
                max_failures=retries, controller_failure_limit=3 * retries
            ),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # Ray wraps whatever a worker raised; the study's rest goes on.
        return None if not _next_missing(chain, ledger) else _why(error)
    finally:
        rmtree(storage / name, ignore_errors=True)
    return None


def _why(error: Exception) -> FailureReason:
    """Why a fit failed: what one of its processes raised, unless another was lost first."""
    ranks = getattr(error, "worker_failures", {}).values()
    reasons = [reason_of(failure) for failure in ranks] or [reason_of(error)]
    first = next((why for why in reasons if not why.outside), reasons[0])
    return replace(first, trace=str(error), outside=any(why.outside for why in reasons))
