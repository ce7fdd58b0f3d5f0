"""The source stage: thetas and tickets, one Ray Train fit a chain, chains side by side."""

import math
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import SimpleQueue
from shutil import rmtree

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket
from trainables.jobs.chain import Chain
from trainables.jobs.source_worker import source_worker
from trainables.store.ledger import Ledger
from tuner.cluster import nodes
from tuner.cluster.capacity import Capacity
from tuner.scheduling.worklist import Worklist
from tuner.stages.chains import next_missing, remaining, unfinished
from tuner.storage.failures import FailureReason, reason_of

_POLL_SECONDS = 0.5
# In what Ray Train says when others keep it waiting for resources.
_UNPLACED = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


@dataclass(frozen=True)
class Listener:
    """Who is told of each result by its key, of each that a chain ended in, and, after so many
    seconds, of the end."""

    made: Callable[[str], None]
    failed: Callable[[str, FailureReason], None]
    over: Callable[[float], None] = lambda seconds: None


class Sources:
    """The source stage at work: chains side by side, each in a thread. What they have made and what
    they ended in is told by `look`, in the thread that calls it, and by nothing else."""

    def __init__(
        self,
        work: Worklist,
        capacity: Capacity,
        listener: Listener,
        given_up: Collection[str],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._work, self._capacity, self._listener = work, capacity, listener
        self._failures: SimpleQueue[tuple[str, FailureReason]] = SimpleQueue()
        self._began = time.monotonic()
        self._looked = -math.inf
        todo, ledger = unfinished(work, given_up), work.ledger
        self._side_by_side = capacity.chains(len(todo))
        # By chain: what it makes, and the ledger did not have when last looked at.
        self._coming: dict[Future[None], dict[str, Theta | Ticket]] = {}
        for chain in todo:
            missing = {key(spec): spec for spec in chain.results if not ledger.has(spec)}
            self._coming[pool.submit(self._pursue, chain, set(given_up))] = missing
        self.room = self._beside()

    @property
    def over(self) -> bool:
        """Has every chain been seen to end?"""
        return not self._coming

    def makes(self, name: str) -> bool:
        """May a theta or a ticket, by its key, still come?"""
        return any(name in missing for missing in self._coming.values())

    def look(self) -> None:
        """Tells what has come since the last look; `room` follows. A second look within half a
        second sees nothing."""
        now = time.monotonic()
        if self.over or now - self._looked < _POLL_SECONDS:
            return
        self._looked = now
        # First: what a chain that has ended has made is in the ledger.
        ended = [chain for chain in self._coming if chain.done()]
        for missing in self._coming.values():
            for name in [n for n, spec in missing.items() if self._work.ledger.has(spec)]:
                del missing[name]
                self._listener.made(name)
        while not self._failures.empty():
            self._listener.failed(*self._failures.get())
        for chain in ended:
            del self._coming[chain]
            chain.result()
        self.room = self._beside()
        if self.over:
            self._listener.over(now - self._began)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Looks until a condition holds or all is over."""
        while not (condition() or self.over):
            time.sleep(_POLL_SECONDS)
            self.look()

    def _beside(self) -> float:
        """How many transfers run beside the chains, which have the right of way: the room of one
        that has failed or ended is the next one's."""
        if self.over:
            return math.inf
        there = nodes.alive()
        cpus, gpus = (sum(nodes.having(there, each)) for each in ("CPU", "GPU"))
        left = replace(self._capacity, cpus=cpus, gpus=gpus)
        return left.beside(min(len(self._coming), self._side_by_side))

    def _pursue(self, chain: Chain | None, lost: set[str]) -> None:
        """Runs a chain; where it fails, what else of its theta does not start from there."""
        ledger, cells = self._work.ledger, self._work.grid.thetas.values()
        while chain and (why := _persist(chain, ledger, self._capacity, self._side_by_side)):
            # All before what is missing is there, or the chain would not have come so far.
            name = next_missing(chain, ledger)
            self._failures.put((name, why))
            lost.add(name)
            theta = next(cell for cell in cells if cell.theta == chain.theta)
            chain = None if ledger.fault() else remaining(theta, self._work, lost)


@contextmanager
def started(
    work: Worklist,
    capacity: Capacity,
    listener: Listener,
    given_up: Collection[str] = (),
) -> Iterator[Sources]:
    """Inside, what is missing is computed, but for what is given up. Leaving waits for all of it;
    after an error, for the chains that have begun."""
    with ThreadPoolExecutor(capacity.chains(len(work.grid.thetas))) as pool:
        sources = Sources(work, capacity, listener, given_up, pool)
        try:
            yield sources
            sources.wait(lambda: False)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


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
        each = nodes.share(nodes.having(there, "CPU"), side_by_side * capacity.workers)
        # Ray's own retry asks for what there was before.
        why = _fit(chain, ledger, capacity, each, retries=0 if several else 1)
        if why is None:
            return None
        # Transfers that run there end, and then give way.
        if _UNPLACED in why.trace or (several and nodes.lost(there)):
            continue
        if not once_more or not (several or why.outside):
            return why
        once_more = False


def _fit(
    chain: Chain, ledger: Ledger, capacity: Capacity, cpus: float, retries: int
) -> FailureReason | None:
    """Runs one chain on Ray Train; returns why it failed, or None."""
    # A fresh name each time: Ray takes a known name for a finished run. The ledger resumes.
    name = f"source-{key(chain)}-{uuid.uuid4().hex[:8]}"
    storage = capacity.files
    gpus = {"GPU": capacity.chain_gpus} if capacity.on_gpus else {}
    trainer = TorchTrainer(
        source_worker,
        train_loop_config={"chain": chain.model_dump_json(), "storage": str(ledger.root)},
        scaling_config=ScalingConfig(
            num_workers=capacity.workers,
            use_gpu=capacity.on_gpus,
            resources_per_worker={"CPU": cpus, **gpus},
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
        return None if not next_missing(chain, ledger) else _why(error)
    finally:
        rmtree(storage / name, ignore_errors=True)
    return None


def _why(error: Exception) -> FailureReason:
    """Why a fit failed: what one of its processes raised, unless another was lost first."""
    ranks = getattr(error, "worker_failures", {}).values()
    reasons = [reason_of(failure) for failure in ranks] or [reason_of(error)]
    first = next((why for why in reasons if not why.outside), reasons[0])
    return replace(first, trace=str(error), outside=any(why.outside for why in reasons))
