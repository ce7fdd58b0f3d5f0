"""The transfer stage: one Ray Tune trial for every transfer that the schedule hands out."""

import math
import uuid
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

from ray import cloudpickle, tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from trainables.jobs.transfer_trial import transfer_trial
from tuner.cluster.capacity import Capacity
from tuner.scheduling.queue import Queue
from tuner.scheduling.worklist import Worklist
from tuner.stages.source import Sources
from tuner.storage.failures import FailureReason, reason_by_ray, reason_of

CHUNK = 2000
"""Trials that one call of Ray Tune runs at most: it keeps 80 KB or so of each until it returns."""


class EndStopper(tune.Stopper):
    """Ends a trial when the trial says so: trained to its end, or stopped in catastrophic
    overfitting. It has judged and stored its best state before it reports that."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return bool(result.get("ends"))

    def stop_all(self) -> bool:
        return False


class QueueSearcher(Searcher):
    """Gives Ray Tune the queue's jobs, one by one, as their tickets are there and they have room
    beside the chains, and a chunk of them at most.

    It ends early where that room shrinks: Tune would keep a process between two trials, whoever
    else may wait for its place. Where it grows, Tune starts further processes, and drops each again
    for one at work that is free sooner: as many trials as were at work, and one, may end before
    one of them is up. Where trials are so short that more do, it ends, for all to start anew.
    """

    def __init__(
        self,
        queue: Queue[str],
        config: Callable[[str], dict[str, Any] | None],
        ready: Callable[[str], bool],
        room: Callable[[], float],
        fault: Callable[[], str | None],
    ) -> None:
        super().__init__()
        self._queue, self._config, self._ready = queue, config, ready
        self._room, self._fault = room, fault
        self._jobs: dict[str, str] = {}
        # Trials whose process has been heard of; how many of them there were before room grew.
        self._heard: set[str] = set()
        self._before, self._patience = math.inf, math.inf
        self._left = CHUNK
        self._width = room()
        self._stops = self._gives_way = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._follow(self._room())
        if self._stops or self._gives_way or not self._left:
            return Searcher.FINISHED
        # Of further processes, one is tried first.
        most = min(self._width, self._before + 1)
        while len(self._jobs) < most and (job := self._queue.next(self._ready)) is not None:
            if config := self._config(job):
                self._jobs[trial_id] = job
                self._left -= 1
                return config
            self._queue.ended(job, None)
        return Searcher.FINISHED if self._queue.over else None

    def _follow(self, room: float) -> None:
        """Takes over the room there is now, or gives way for the chains to have it."""
        if room < self._width:
            self._gives_way = True
        elif room > self._width:
            if self._left < CHUNK:
                self._before, self._patience = self._width, self._width + 1
            self._width = room

    @property
    def continues(self) -> bool:
        """Is another chunk to follow this one?"""
        return not (self._stops or self._queue.over) and (self._gives_way or not self._left)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._heard.add(trial_id)
        if len(self._heard) > self._before:
            self._before = self._patience = math.inf

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        # If a process is being started, it comes too late for its trial: that takes this one's.
        self._patience -= len(self._jobs) > len(self._heard | {trial_id})
        self._gives_way = self._gives_way or self._patience < 1
        self._heard.discard(trial_id)
        job = self._jobs.pop(trial_id)
        # What the storage would not take of this one it will take of no other.
        self._stops = self._stops or bool(error and self._fault())
        self._queue.ended(job, None if error else self._queue.known(job))

    def __getstate__(self) -> dict[str, Any]:
        # Tune keeps copies on disk for a restore that never comes here: the ledger resumes.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see __getstate__."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see __getstate__."""


class _TransferWatcher(tune.Callback):
    """Tells the driver of finished and failed trials."""

    def __init__(
        self, made: Callable[[str], None], failed: Callable[[str, FailureReason], None]
    ) -> None:
        self._made, self._failed = made, failed

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._made(trial.config["key"])

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._failed(trial.config["key"], why_failed(trial))


def why_failed(trial: Trial) -> FailureReason:
    """What a trial of Ray Tune ended in."""
    # Where the driver has written it: it is copied to the storage later, if at all.
    if trial.pickled_error_file:
        return reason_of(cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()))
    # What neither the training raised nor its process died of: Ray's own.
    text = Path(trial.error_file).read_text() if trial.error_file else ""
    return reason_by_ray(text or "ended without an error that Ray knows of")


def run(
    work: Worklist,
    capacity: Capacity,
    sources: Sources,
    made: Callable[[str], None],
    failed: Callable[[str, FailureReason], None],
    keep: Callable[[], bool],
) -> None:
    """Runs what the worklist's queue hands out, each transfer as soon as its ticket is there and it
    has room beside the chains of `sources`; calls `made` or `failed` with its key as it ends. Those
    whose ticket, or what their checks need, the source stage could not make are passed over. keep:
    are the weights kept that they end in? Asked when there is a ticket."""
    watcher, ledger = _TransferWatcher(made, failed), work.ledger

    def config(job: str) -> dict[str, Any] | None:
        transfer = work.grid.transfers[job].transfer
        ticket = transfer.ticket
        needed = [ticket.theta, *([ticket] if ticket.level else []), *transfer.surrogates]
        if not all(map(ledger.has, needed)):
            return None
        spec = transfer.model_dump_json()
        return {"key": job, "transfer": spec, "storage": str(ledger.root), "keep": keep()}

    def ready(job: str) -> bool:
        return not any(map(sources.makes, work.grid.behind[job]))

    def room() -> float:
        sources.look()
        return sources.room

    while True:
        sources.wait(lambda: sources.room >= 1)
        searcher = QueueSearcher(work.queue, config, ready, room, ledger.fault)
        _chunk(searcher, capacity, watcher)
        if not searcher.continues:
            return


def _chunk(searcher: QueueSearcher, capacity: Capacity, watcher: _TransferWatcher) -> None:
    """Runs what one call of Ray Tune takes."""
    name = f"transfers-{uuid.uuid4().hex[:8]}"
    storage = capacity.files
    tuner = tune.Tuner(
        tune.with_resources(
            transfer_trial, {"cpu": capacity.trial_cpus, "gpu": capacity.trial_gpus}
        ),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            # A fresh process costs seconds to start: finished ones take the next trial.
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            stop=EndStopper(),
            callbacks=[watcher],
            failure_config=tune.FailureConfig(max_failures=1),
            verbose=0,
        ),
    )
    tuner.fit()
    rmtree(storage / name, ignore_errors=True)
