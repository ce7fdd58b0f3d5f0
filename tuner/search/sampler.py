"""Optuna, shown every finished trial of the ledger."""

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from search_spaces import trials
from search_spaces.errors import InputError
from search_spaces.searches.spaces import (
    AnyDomain,
    Choice,
    LogUniform,
    LogWhole,
    Point,
    Uniform,
    Whole,
)
from search_spaces.study import Study
from trainables.jobs.search_trial import NOTHING
from trainables.runtime.seeding import derived
from trainables.store.ledger import Ledger
from tuner.storage import state


def searcher(study: Study, ledger: Ledger, late: Callable[[], bool]) -> "UntilLate":
    """Optuna, shown every finished trial, with the first points that are not among them queued;
    it has nothing more to suggest once it is `late`.

    OptunaSearch's own `evaluated_rewards` takes one objective, no conditions and no further
    points, so the Optuna study is made here, in memory, and OptunaSearch continues it.
    """
    search, known = trials.searched(study), state.trials(study, ledger)
    storage = optuna.storages.InMemoryStorage()
    sampled = _told(study, known, storage)
    points = [finished.point for finished in known]
    for point in trials.first_points(study):
        if point not in points:
            sampled.enqueue_trial(dict(point))

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
    continued = UntilLate(
        draw,
        metric=list(search.objectives),
        mode=["max"] * len(search.objectives),
        sampler=sampler,
        study_name=study.name,
        storage=storage,
    )
    continued.late = late
    return continued


def write_journal(study: Study, ledger: Ledger, path: Path) -> None:
    """Writes every finished trial of the study's search as an Optuna journal, in place of what is
    at `path`: `optuna-dashboard PATH` and `optuna.storages.JournalStorage` read it. Raises
    InputError if it cannot be written."""
    from optuna.storages.journal import JournalFileBackend

    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(fresh)))
        _told(study, state.trials(study, ledger), storage)
        fresh.replace(path)
    except OSError as error:
        raise InputError(f"--journal {path}: cannot be written: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)


def _told(
    study: Study, known: Iterable[state.Finished], storage: optuna.storages.BaseStorage
) -> optuna.Study:
    """An Optuna study in `storage` that knows these trials."""
    search = trials.searched(study)
    told = optuna.create_study(
        storage=storage, study_name=study.name, directions=["maximize"] * len(search.objectives)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        told.set_metric_names(list(search.objectives))
    for finished in known:
        told.add_trial(
            optuna.trial.create_trial(
                params=dict(finished.point),
                distributions={n: distribution(search.space[n]) for n in finished.point},
                values=[(finished.result["best"] or NOTHING)[o] for o in search.objectives],
            )
        )
    return told


class UntilLate(OptunaSearch):
    """OptunaSearch that ends when it is told so."""

    late: Callable[[], bool]

    def suggest(self, trial_id: str) -> Any:
        if self.late():
            return Searcher.FINISHED
        return super().suggest(trial_id)

    # Tune keeps copies on disk for a restore that never comes here; they cannot hold functions.

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None:
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
