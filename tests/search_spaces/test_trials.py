"""A study's search: its section, its trials, and the winning recipe as overrides."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import grid, trials
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.levels import level_at, sparsity
from search_spaces.reading import studies

PGD = {"kind": "pgd", "epsilon": 0.1, "alpha": 0.05, "steps": 3}
RECIPE = {"epochs": 4, "lr": 0.1, "validate_from": 3}
STUDY = {
    "name": "small",
    "source": {
        "dataset": {"name": "mnist-mini", "size": 16},
        "model": {"arch": "resnet8"},
        "pretrainings": {
            "standard": {"train": {"recipe": RECIPE}},
            "adversarial": {"train": {"recipe": RECIPE, "attack": PGD}},
        },
    },
    "pruning": {
        "imp": {"method": "imp", "rounds": 4, "retraining": {"recipe": RECIPE}},
        "random": {"method": "random", "levels": [4], "pretrainings": ["adversarial"]},
    },
    "downstream": [
        {
            "dataset": {"name": "digits", "size": 16},
            "levels": [0, 2, 4],
            "fractions": [1.0, 0.5],
            "regimes": {
                "standard": {"recipe": RECIPE},
                "adversarial": {"recipe": RECIPE, "attack": PGD},
            },
            "seeds": [0, 1],
        }
    ],
    "evaluation": {"attack": {**PGD, "steps": 20}, "validation": {**PGD, "steps": 5}},
}
SEARCH = {
    "task": "digits",
    "regime": "adversarial",
    "pretraining": "adversarial",
    "objectives": ["ra", "sa"],
    "seeds": [0, 3],
    "space": {
        "recipe.lr": {"log_uniform": [0.01, 1]},
        "recipe.epochs": {"int": [2, 6]},
        "recipe.schedule.kind": {"choice": ["constant", "cosine"]},
        "attack.alpha": {"uniform": [0.01, 0.1]},
        "attack.steps": {"int": [1, 5], "when": {"recipe.schedule.kind": ["cosine"]}},
    },
}
OWN = {
    "recipe.lr": 0.1,
    "recipe.epochs": 4,
    "recipe.schedule.kind": "constant",
    "attack.alpha": 0.05,
}


def study(**search):
    return studies.validate({**STUDY, "search": {**SEARCH, **search}}, "small")


def test_the_first_point_is_the_studys_own():
    assert trials.shipped_point(study()) == OWN
    trial = trials.trial(study(), OWN)
    own = next(c.transfer for c in grid.transfers(study()) if c.regime == "adversarial")
    assert trial.regime.attack == own.regime.attack
    assert trial.regime.recipe == own.regime.recipe.model_copy(update={"validate_from": 1})
    assert [t.seed for t in trial.transfers] == [0, 3]


def test_a_trial_knows_the_validation_attack_alone():
    own = study()
    trial = trials.trial(own, OWN)
    harder = STUDY["evaluation"] | {"attack": {**PGD, "steps": 50}}
    other = studies.validate({**STUDY, "evaluation": harder, "search": SEARCH}, "small")
    # The theta's record of its source's test images is part of its key; all else is the same.
    again = trials.trial(other, OWN)
    assert again.model_copy(update={"ticket": trial.ticket}) == trial
    for transfer in trial.transfers:
        assert transfer.evaluation.attack.steps == transfer.evaluation.validation.steps == 5


def test_points_written_in_the_study_follow():
    points = [{"recipe.schedule.kind": "cosine", "attack.steps": 5}, {"recipe.lr": 0.5}, {}]
    found = trials.first_points(study(points=points))
    assert found[0] == OWN
    assert found[1] == {**OWN, "recipe.schedule.kind": "cosine", "attack.steps": 5}
    # Without cosine there are no steps to set; a point that is there already is not repeated.
    assert found[2:] == [{**OWN, "recipe.lr": 0.5}]


points = st.fixed_dictionaries(
    {
        "recipe.lr": st.floats(0.01, 1),
        "recipe.epochs": st.integers(2, 6),
        "recipe.schedule.kind": st.sampled_from(["constant", "cosine"]),
        "attack.alpha": st.floats(0.01, 0.1),
        "attack.steps": st.integers(1, 5),
    }
)


def active(point):
    if point["recipe.schedule.kind"] == "cosine":
        return point
    return {name: value for name, value in point.items() if name != "attack.steps"}


@settings(deadline=None)
@given(points.map(active))
def test_a_point_makes_a_trial_and_a_trial_its_point(point):
    small = study()
    trial = trials.trial(small, point)
    assert trials.point_of(small, trial) == point
    assert trial.regime.recipe.lr == point["recipe.lr"]
    assert trial.regime.attack.steps == point.get("attack.steps", 3)


@settings(deadline=None, max_examples=30)
@given(points.map(active))
def test_the_fragment_gives_the_recipe_to_the_study(tmp_path_factory, point):
    folder = tmp_path_factory.mktemp("fragment")
    file, winner = folder / "small.yaml", folder / "winner.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "search": SEARCH}, sort_keys=False))
    winner.write_text("# a comment\n" + yaml.safe_dump(trials.fragment(study(), point)))
    loaded = studies.load(str(file), (), [winner])
    regime = loaded.downstream[0].regimes["adversarial"].regime
    searched = trials.trial(study(), point).regime
    same = regime.recipe.model_copy(update={"validate_from": 1})
    assert regime.model_copy(update={"recipe": same}) == searched
    assert trials.shipped_point(loaded) == point
    assert loaded.downstream[0].regimes["standard"] == study().downstream[0].regimes["standard"]


def test_another_searchs_trial_is_not_taken_for_ones_own():
    trial = trials.trial(study(), OWN)
    assert trials.point_of(study(seeds=[0]), trial) is None
    assert trials.point_of(study(fraction=0.5), trial) is None
    assert trials.point_of(study(pretraining="standard"), trial) is None
    narrow = SEARCH["space"] | {"recipe.lr": {"uniform": [0.05, 0.2]}}
    far = trials.trial(study(), {**OWN, "recipe.lr": 0.5})
    assert trials.point_of(study(space=narrow), trial) == OWN
    assert trials.point_of(study(space=narrow), far) is None
    wide = {name: domain for name, domain in SEARCH["space"].items() if name == "recipe.lr"}
    assert trials.point_of(study(space=wide), trial) == {"recipe.lr": 0.1}


def test_a_search_changes_no_other_key():
    plain, searching = studies.validate(STUDY, "small"), study(trials=7)
    assert [c.key for c in grid.transfers(plain)] == [c.key for c in grid.transfers(searching)]
    assert [c.key for c in grid.tickets(plain)] == [c.key for c in grid.tickets(searching)]
    assert key(plain) == key(searching)


def test_rates_are_compared_at_one_sparsity():
    space = {"pruning.rate": {"uniform": [0.1, 0.6]}}
    small = study(pruning="imp", level=4, space=space)
    assert trials.shipped_point(small) == {"pruning.rate": 0.2}
    for rate in (0.1, 0.2, 0.33, 0.6):
        trial = trials.trial(small, {"pruning.rate": rate})
        level = trial.ticket.level
        assert sparsity(level, rate) >= sparsity(4) - 1e-9 > sparsity(level - 1, rate)
        assert trials.point_of(small, trial) == {"pruning.rate": rate}
    assert trials.fragment(small, {"pruning.rate": 0.1}) == {"pruning.imp.rate": 0.1}


@given(st.integers(1, 30), st.floats(0.01, 0.6), st.floats(0.01, 0.6))
def test_levels_at_another_rate(level, rate, other):
    found = level_at(rate, level, other)
    assert level_at(other, level, other) == level
    wanted = (1 - sparsity(level, other)) * (1 + 1e-6)
    assert 1 - sparsity(found, rate) <= wanted
    assert 1 - sparsity(found - 1, rate) > wanted * (1 - 1e-5)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"task": "cifar10"}, "search.task: cifar10 is not in the study: it has digits"),
        ({"task": 1}, "search.task: there is no task 1: places go from 0"),
        ({"regime": "fast_adversarial"}, "search.regime: fast_adversarial is not in the study"),
        ({"pretraining": "robust"}, "search.pretraining: robust is not in the study: it has stand"),
        ({"pruning": "omp", "level": 1}, "search.pruning: omp is not in the study: it has imp"),
        ({"pruning": "imp", "level": 5}, "search.level: 5 is not made by imp: it makes 1, 2, 3, 4"),
        ({"pruning": "imp"}, "level and pruning belong together"),
        ({"level": 2}, "level and pruning belong together"),
        (
            {"pruning": "random", "level": 4, "pretraining": "standard"},
            "search.pruning: random does not start from standard",
        ),
        ({"regime": "standard"}, "search.objectives: ra needs an attack"),
        (
            {"regime": "standard", "objectives": ["sa"]},
            "search.space.attack.alpha: regime standard has no attack: drop it",
        ),
        ({"objectives": ["ra", "ra"]}, "objectives has a value twice"),
        ({"objectives": ["loss"]}, "Input should be 'ra' or 'sa'"),
        ({"seeds": [1, 1]}, "seeds has a value twice"),
        ({"trials": 0}, "search.trials: Input should be greater than or equal to 1"),
        ({"space": {}}, "search.space"),
        ({"space": {"recipe.lr": {"normal": [0, 1]}}}, "a domain is one of {log_uniform: [a, b]}"),
        (
            {"space": {"recipe.lr": {"uniform": [0.2, 1]}}},
            "search.space.recipe.lr: does not hold the study's own value 0.1, which is the first",
        ),
        ({"space": {"recipe.lr": {"uniform": [-1, 1]}}}, "at recipe.lr -1.0: recipe.lr: Input sho"),
        ({"space": {"recipe.epochs": {"uniform": [1, 8]}}}, "recipe.epochs: Input should be a va"),
        ({"space": {"recipe.speed": {"int": [1, 8]}}}, "search.space.recipe.speed: cannot be sea"),
        ({"space": {"recipe.schedule": {"int": [1, 8]}}}, "recipe.schedule: cannot be searched"),
        ({"space": {"recipe.validate_from": {"int": [1, 8]}}}, "validate_from: cannot be searched"),
        ({"space": {"lr": {"int": [1, 8]}}}, "search.space.lr: cannot be searched: name a single"),
        ({"space": {"pruning.rate": {"uniform": [0.1, 0.3]}}}, "needs a ticket of method imp"),
        (
            {"space": {"recipe.lr": {"uniform": [0, 1], "when": {"recipe.epochs": [4]}}}},
            "space.recipe.lr.when: recipe.epochs is not a parameter above recipe.lr",
        ),
        (
            {
                "space": {
                    "recipe.epochs": {"int": [1, 4]},
                    "recipe.lr": {"uniform": [0, 1], "when": {"recipe.epochs": [5]}},
                }
            },
            "space.recipe.lr.when: recipe.epochs never is 5: name values of its domain",
        ),
        ({"points": [{"lr": 1}]}, "search.points.0: lr is not in the space: add it there"),
        ({"points": [{}, {"recipe.lr": 2}]}, "search.points.1.recipe.lr: 2 is not in its domain"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_searches_that_do_not_fit_are_refused_in_one_line(search, words):
    with pytest.raises(InputError) as caught:
        study(**search)
    message = str(caught.value)
    assert message.startswith("small: ")
    assert words in message
    assert message.splitlines() == [message]


def test_a_study_without_a_search_says_so():
    plain = studies.validate(STUDY, "small")
    with pytest.raises(InputError, match="study small: has no search: section: add one"):
        trials.searched(plain)


@pytest.mark.parametrize("name", ["quickstart", "paper"])
def test_shipped_searches_begin_with_the_recipe_shipped(name):
    shipped = studies.load(name)
    point = trials.shipped_point(shipped)
    task = shipped.downstream[0].regimes["adversarial"]
    assert point["recipe.lr"] == task.recipe.lr
    assert point["attack.alpha"] == task.attack.alpha
    assert trials.first_points(shipped) == [point]


def test_a_searched_studys_yaml_reads_back():
    shipped = studies.load("paper")
    text = yaml.safe_dump(shipped.model_dump(mode="json", exclude_none=True), sort_keys=False)
    again = studies.validate(studies.parse(text, "again"), "again")
    assert again == shipped
    assert list(again.search.space) == list(shipped.search.space)


def test_overrides_reach_into_a_space():
    loaded = studies.load("quickstart", ["search.space.recipe.lr={uniform: [0.05, 0.1]}"])
    assert loaded.search.space["recipe.lr"].uniform == (0.05, 0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "must map paths to values"),
        ("1: 2", "must map paths to values"),
        ("a: [", "not valid YAML"),
        ("sourc.seed: 1", "winner.yaml: sourc.seed: no field sourc there (known: name"),
        ("source.seed: x", "quickstart: source.seeds.0: Input should be a valid integer"),
    ],
)
def test_bad_fragments_are_named(tmp_path, text, words):
    file = tmp_path / "winner.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        studies.load("quickstart", (), [file])
    assert words in str(caught.value)


def test_overrides_win_over_a_fragment(tmp_path):
    file = tmp_path / "winner.yaml"
    file.write_text("source.seed: 3\nname: one\n")
    loaded = studies.load("quickstart", ["name=two"], [file])
    assert (loaded.source.seeds, loaded.name) == ((3,), "two")
    with pytest.raises(InputError, match=r"--with .*none.yaml: cannot be read: No such file"):
        studies.load("quickstart", (), [tmp_path / "none.yaml"])
