"""What Optuna is told of a ledger, and what it draws then; no cluster is started."""

import math

import optuna
import pytest
from ray.tune.search import Searcher

from search_spaces import trials
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.reading import studies
from search_spaces.trials import Trial
from trainables.store.ledger import open_ledger
from tuner.cluster.capacity import Capacity
from tuner.search import sampler
from tuner.search import stage as search_stage
from tuner.storage import state

YAML = """
name: small
source:
  dataset: {name: mnist-mini, size: 16}
  model: {arch: resnet8}
  pretrainings: {standard: {train: {recipe: &recipe {epochs: 4, lr: 0.1}}}}
downstream:
  - dataset: {name: digits, size: 16}
    levels: [0]
    regimes: {adversarial: {recipe: *recipe, attack: &pgd {kind: pgd, epsilon: 0.1, alpha: 0.1}}}
    seeds: [0]
evaluation: {attack: *pgd}
search:
  regime: adversarial
  pretraining: standard
  objectives: [ra]
  points: [{recipe.lr: 0.5}]
  space:
    recipe.lr: {log_uniform: [0.01, 1]}
    recipe.schedule.kind: {choice: [constant, cosine]}
    recipe.weight_decay: {uniform: [0, 0.01], when: {recipe.schedule.kind: [cosine]}}
    recipe.batch_size: {log_int: [16, 256]}
    attack.steps: {int: [1, 5]}
"""


def never():
    return False


def read(**search):
    data = studies.parse(YAML, "small")
    data["search"] |= search
    return studies.validate(data, "small")


@pytest.fixture
def ledger(tmp_path):
    return open_ledger(tmp_path / "results")


def drawn(study, searcher, count):
    """The next points; each is told as worth its learning rate."""
    points = []
    for number in range(count):
        config = searcher.suggest(f"t{number}")
        point = trials.point_of(study, Trial.model_validate_json(config["trial"]))
        assert point == {n: v for n, v in config.items() if n != "trial"}
        scores = {"ra": point["recipe.lr"] / 2, "sa": 1 - point["recipe.lr"] / 2}
        searcher.on_trial_complete(f"t{number}", {**scores, "training_iteration": 1})
        points.append(point)
    return points


def store(study, ledger, points, state="complete"):
    for number, point in enumerate(points):
        lr = point["recipe.lr"]
        best = {} if state == "diverged" else {"ra": lr / 2, "sa": 1 - lr / 2}
        result = {"state": state, "best": best, "epochs": [], "started": 0.0, "ended": number}
        ledger.write(trials.trial(study, point), result, {})


@pytest.mark.parametrize("objectives", [["ra"], ["ra", "sa"]])
def test_a_search_begins_with_the_points_written_and_stays_in_the_space(ledger, objectives):
    study = read(objectives=objectives)
    points = drawn(study, sampler.searcher(study, ledger, never), 15)
    assert points[:2] == trials.first_points(study)
    assert points[1]["recipe.lr"] == 0.5
    assert len({key(trials.trial(study, p)) for p in points}) == 15
    conditional = {p["recipe.schedule.kind"]: "recipe.weight_decay" in p for p in points}
    assert conditional == {"constant": False, "cosine": True}


@pytest.mark.parametrize("objectives", [["ra"], ["ra", "sa"]])
@pytest.mark.parametrize("finished", [1, 4, 12])
def test_a_search_taken_up_again_draws_nothing_twice(ledger, objectives, finished):
    study = read(objectives=objectives)
    before = drawn(study, sampler.searcher(study, ledger, never), finished)
    store(study, ledger, before)
    searcher = sampler.searcher(study, ledger, never)
    after = drawn(study, searcher, 12)
    keys = [key(trials.trial(study, p)) for p in before + after]
    assert len(set(keys)) == len(keys)
    # What was queued and not reached comes first.
    assert after[: max(0, 2 - finished)] == trials.first_points(study)[finished:]


def test_optuna_knows_what_the_ledger_holds(ledger):
    study = read(objectives=["ra", "sa"])
    points = drawn(study, sampler.searcher(study, ledger, never), 6)
    store(study, ledger, points[:4])
    store(study, ledger, points[4:], "diverged")
    searcher = sampler.searcher(study, ledger, never)
    told = optuna.load_study(study_name="small", storage=searcher._storage).trials
    known = state.trials(study, ledger)
    assert [t.params for t in told] == [f.point for f in known]
    for trial, finished in zip(told, known, strict=True):
        best = finished.result["best"] or {"ra": 0.0, "sa": 0.0}
        assert trial.values == [best["ra"], best["sa"]]
        assert trial.state == optuna.trial.TrialState.COMPLETE


def test_a_journal_tells_optuna_the_same(ledger, tmp_path):
    study, path = read(objectives=["ra", "sa"]), tmp_path / "small.journal"
    store(study, ledger, drawn(study, sampler.searcher(study, ledger, never), 3))
    for _ in range(2):  # What is there is replaced.
        sampler.write_journal(study, ledger, path)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    told = optuna.load_study(study_name="small", storage=optuna.storages.JournalStorage(backend))
    assert [t.params for t in told.trials] == [f.point for f in state.trials(study, ledger)]
    assert told.metric_names == ["ra", "sa"] and len(told.best_trials) >= 1
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["small.journal"]
    with pytest.raises(InputError, match="--journal"):
        sampler.write_journal(study, ledger, tmp_path / "absent" / "small.journal")


def test_a_search_that_knows_more_draws_better(ledger):
    """The score is the learning rate here: told of enough, Optuna draws high ones."""
    study = read(points=[])
    store(study, ledger, drawn(study, sampler.searcher(study, ledger, never), 30))
    points = drawn(study, sampler.searcher(study, ledger, never), 10)
    rates = sorted(math.log10(p["recipe.lr"]) for p in points)
    # Drawn at random, the median of [0.01, 1] is 0.1.
    assert rates[5] > math.log10(0.3)


def test_when_it_is_late_nothing_is_drawn(ledger):
    searcher = sampler.searcher(read(), ledger, lambda: True)
    assert searcher.suggest("t0") == Searcher.FINISHED


def test_time_is_left_for_the_confirmation(ledger):
    """Trials of 10 s: one more, and 2 x 3 further trainings on 2 slots, are 40 s ahead."""
    study = read(confirm=3)
    capacity = Capacity(cpus=2, gpus=0, workers=1, trial_cpus=1, trial_gpus=0)
    stage = search_stage.TrialStage(study, ledger, capacity, lambda trial: None, pytest.fail)
    assert search_stage.ahead(stage) == 0
    point = trials.shipped_point(study)
    ledger.write(trials.trial(study, point), {"started": 5.0, "ended": 15.0}, {})
    assert search_stage.ahead(stage) == 40


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_schedulers_know_the_longest_trial(scheduler):
    study = read(scheduler=scheduler)
    halving = search_stage.Halving(study, study.search)
    assert halving._max_t == 4
    longer = read(scheduler=scheduler, space={"recipe.epochs": {"int": [2, 9]}}, points=[])
    assert search_stage.Halving(longer, longer.search)._max_t == 9
    assert len(halving._brackets) == (1 if scheduler == "asha" else 3)
