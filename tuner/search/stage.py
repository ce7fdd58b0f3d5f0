"""The search stage: Optuna asks, Ray Tune trains, the ledger remembers."""

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from shutil import rmtree
from statistics import fmean
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from search_spaces import trials
from search_spaces.searches.section import Search
from search_spaces.study import Study
from search_spaces.trials import Trial
from trainables.jobs.search_trial import search_trial
from trainables.store.ledger import Ledger
from tuner.cluster.capacity import Capacity
from tuner.search.sampler import searcher
from tuner.stages.transfer import why_failed
from tuner.storage import state
from tuner.storage.failures import FailureReason


@dataclass
class TrialStage:
    """What the rounds of a stage share. `finished` is called with every trial that has a result,
    `failed` with each that died without one."""

    study: Study
    ledger: Ledger
    capacity: Capacity
    finished: Callable[[Trial], None]
    failed: Callable[[Trial, FailureReason], None]


def search(stage: TrialStage, total: int, deadline: float) -> None:
    """Runs trials until the ledger has `total` of the study's, starting none that would leave too
    little time for the confirmation before `deadline` (of time.monotonic).

    The sampler may draw a point that is known, so there are rounds; one that finds nothing new is
    the last.
    """
    done = len(state.trials(stage.study, stage.ledger))

    def late() -> bool:
        return time.monotonic() + ahead(stage) > deadline

    while done < total and not late():
        _run(stage, total - done, searcher(stage.study, stage.ledger, late))
        before, done = done, len(state.trials(stage.study, stage.ledger))
        if done == before:
            return


def ahead(stage: TrialStage) -> float:
    """Seconds that one more trial and the confirmation would take, at the pace of the last ten."""
    search = trials.searched(stage.study)
    last = [f.result for f in state.trials(stage.study, stage.ledger)[-10:]]
    if not last:
        return 0.0
    each = fmean(result["ended"] - result["started"] for result in last)
    rounds = math.ceil(2 * search.confirm / stage.capacity.trials)
    return each * (1 + rounds / len(search.seeds))


def confirm(stage: TrialStage, wanted: list[Trial]) -> None:
    """Runs given trials, without a sampler."""
    _run(stage, 1, None, tune.grid_search([spec.model_dump_json() for spec in wanted]))


class Halving(AsyncHyperBandScheduler):
    """ASHA or asynchronous Hyperband, remembering which trials it has stopped.

    Ray's synchronous Hyperband pauses trials, and would need their checkpoints.
    """

    def __init__(self, study: Study, search: Search) -> None:
        epochs = _most_epochs(study, search)
        super().__init__(
            metric=search.objectives[0],
            mode="max",
            max_t=epochs,
            grace_period=min(search.grace, epochs),
            reduction_factor=3,
            brackets=1 if search.scheduler == "asha" else 3,
        )
        self.stopped: set[str] = set()

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.stopped.add(trial.trial_id)
        return decision


def _most_epochs(study: Study, search: Search) -> int:
    domain = search.space.get("recipe.epochs")
    own = trials.trial(study, trials.shipped_point(study)).regime.recipe.epochs
    return max(int(value) for value in domain.samples) if domain else own


class _TrialWatcher(tune.Callback):
    """Writes what the scheduler has stopped, and tells the driver of every trial that ended."""

    def __init__(self, stage: TrialStage, scheduler: Halving | None) -> None:
        self._stage, self._scheduler = stage, scheduler
        self._latest: dict[str, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune keeps a copy of its callbacks on disk for a restore that never comes here.
        return {}

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        if "result" in result:
            self._latest[trial.trial_id] = result["result"]

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        spec = Trial.model_validate_json(trial.config["trial"])
        latest = self._latest.pop(trial.trial_id, None)
        if latest and self._scheduler and trial.trial_id in self._scheduler.stopped:
            # One that was complete already stays so.
            self._stage.ledger.write(spec, {**latest, "state": "stopped"}, {})
        if self._stage.ledger.has(spec):
            self._stage.finished(spec)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._stage.failed(Trial.model_validate_json(trial.config["trial"]), why_failed(trial))


def _run(stage: TrialStage, samples: int, search_alg: Any, fixed: Any = None) -> None:
    search = trials.searched(stage.study)
    halving = search_alg is not None and search.scheduler != "none"
    scheduler = Halving(stage.study, search) if halving else None
    capacity, storage = stage.capacity, stage.capacity.files
    name = f"search-{uuid.uuid4().hex[:8]}"
    space = {"storage": str(stage.ledger.root), **({"trial": fixed} if fixed else {})}
    tuner = tune.Tuner(
        tune.with_resources(search_trial, {"cpu": capacity.trial_cpus, "gpu": capacity.trial_gpus}),
        param_space=space,
        tune_config=tune.TuneConfig(
            num_samples=samples,
            search_alg=search_alg,
            scheduler=scheduler,
            # A sampler that runs ahead of its results learns nothing from them.
            max_concurrent_trials=capacity.trials if search_alg else None,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            callbacks=[_TrialWatcher(stage, scheduler)],
            verbose=0,
        ),
    )
    tuner.fit()
    rmtree(storage / name, ignore_errors=True)
