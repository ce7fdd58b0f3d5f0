"""The search stage: Optuna asks, Ray Tune trains, the ledger remembers."""

import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from shutil import rmtree
from typing import Any

import optuna
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from search_spaces import trials
from search_spaces.search import Search
from search_spaces.spaces import AnyDomain, Choice, LogUniform, LogWhole, Point, Uniform, Whole
from search_spaces.study import Study
from search_spaces.trials import Trial
from trainables.ledger import Ledger
from trainables.search_trial import NOTHING, search_trial
from trainables.seeding import derived
from tuner import state
from tuner.cluster import Capacity

Found = Callable[[Trial], None]


@dataclass
class Stage:
    """What the rounds of a stage share; `failures` are trials that died without a result."""

    study: Study
    ledger: Ledger
    capacity: Capacity
    found: Found
    failures: list[str]


def search(stage: Stage, total: int, deadline: float) -> None:
    """Runs trials until the ledger has `total` of the study's, starting none after `deadline`
    (of time.monotonic).

    The sampler may draw a point that is known, so there are rounds; one that finds nothing new is
    the last.
    """
    done = len(state.trials(stage.study, stage.ledger))
    while done < total and time.monotonic() < deadline:
        _run(stage, total - done, searcher(stage.study, stage.ledger, deadline))
        before, done = done, len(state.trials(stage.study, stage.ledger))
        if done == before:
            return


def confirm(stage: Stage, wanted: list[Trial]) -> None:
    """Runs given trials, without a sampler."""
    _run(stage, 1, None, tune.grid_search([spec.model_dump_json() for spec in wanted]))


def searcher(study: Study, ledger: Ledger, deadline: float) -> "UntilDeadline":
    """Optuna, told of every finished trial, with the first points that are not among them queued.

    OptunaSearch's own `evaluated_rewards` takes one objective, no conditions and no further
    points, so the Optuna study is made here, in memory, and OptunaSearch continues it.
    """
    search, known = trials.searched(study), state.trials(study, ledger)
    storage = optuna.storages.InMemoryStorage()
    told = optuna.create_study(
        storage=storage, study_name=study.name, directions=["maximize"] * len(search.objectives)
    )
    for finished in known:
        told.add_trial(
            optuna.trial.create_trial(
                params=dict(finished.point),
                distributions={n: distribution(search.space[n]) for n in finished.point},
                values=[(finished.result["best"] or NOTHING)[o] for o in search.objectives],
            )
        )
    points = [finished.point for finished in known]
    for point in trials.first_points(study):
        if point not in points:
            told.enqueue_trial(dict(point))

    def draw(trial: optuna.Trial) -> dict[str, str]:
        point: Point = {}
        for name, domain in search.space.items():
            if domain.active(point):
                point[name] = _suggest(trial, name, domain)
        return {"trial": trials.trial(study, point).model_dump_json()}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Seeded anew by what is known: the same seed would draw the finished points again.
        sampler = optuna.samplers.TPESampler(
            seed=derived(search.seed, "search", len(known)) % 2**32,
            multivariate=True,
            group=True,
        )
    found = UntilDeadline(
        draw,
        metric=list(search.objectives),
        mode=["max"] * len(search.objectives),
        sampler=sampler,
        study_name=study.name,
        storage=storage,
    )
    found.deadline = deadline
    return found


class UntilDeadline(OptunaSearch):
    """OptunaSearch that has nothing more to suggest after a deadline (of time.monotonic)."""

    deadline: float

    def suggest(self, trial_id: str) -> Any:
        if time.monotonic() > self.deadline:
            return Searcher.FINISHED
        return super().suggest(trial_id)

    def save(self, checkpoint_path: str) -> None:
        # Tune's copy for a restore that never comes here; it cannot hold a function.
        return


def distribution(domain: AnyDomain) -> optuna.distributions.BaseDistribution:
    """A domain in Optuna's words."""
    match domain:
        case LogUniform():
            return optuna.distributions.FloatDistribution(*domain.log_uniform, log=True)
        case Uniform():
            return optuna.distributions.FloatDistribution(*domain.uniform)
        case Whole():
            return optuna.distributions.IntDistribution(*domain.bounds)
        case LogWhole():
            return optuna.distributions.IntDistribution(*domain.log_int, log=True)
        case Choice():
            return optuna.distributions.CategoricalDistribution(domain.choice)


def _suggest(trial: Any, name: str, domain: AnyDomain) -> Any:
    match domain:
        case LogUniform():
            return trial.suggest_float(name, *domain.log_uniform, log=True)
        case Uniform():
            return trial.suggest_float(name, *domain.uniform)
        case Whole():
            return trial.suggest_int(name, *domain.bounds)
        case LogWhole():
            return trial.suggest_int(name, *domain.log_int, log=True)
        case Choice():
            return trial.suggest_categorical(name, domain.choice)


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


class _Watcher(tune.Callback):
    """Writes what the scheduler has stopped, and tells the driver of every trial that ended."""

    def __init__(self, stage: Stage, scheduler: Halving | None) -> None:
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
            self._stage.found(spec)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        lines = (trial.get_error() and str(trial.get_error()).strip().splitlines()) or ["died"]
        self._stage.failures.append(lines[-1])


def _run(stage: Stage, samples: int, search_alg: Any, fixed: Any = None) -> None:
    search = trials.searched(stage.study)
    halving = search_alg is not None and search.scheduler != "none"
    scheduler = Halving(stage.study, search) if halving else None
    capacity, storage = stage.capacity, stage.ledger.root / "ray"
    name = f"search-{uuid.uuid4().hex[:8]}"
    failed = len(stage.failures)
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
            callbacks=[_Watcher(stage, scheduler)],
            verbose=0,
        ),
    )
    tuner.fit()
    if len(stage.failures) == failed:
        rmtree(storage / name, ignore_errors=True)
