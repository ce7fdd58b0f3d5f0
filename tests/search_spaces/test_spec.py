"""Every rule of the spec: what it refuses, where, and in which words."""

from copy import copy

import pytest
from pydantic import ValidationError

from search_spaces.checks import AutoAttackCheck
from search_spaces.errors import InputError
from search_spaces.keys import canonical
from search_spaces.networks import RESNETS, Checkpoint
from search_spaces.reading import studies
from search_spaces.regimes import (
    Attack,
    Containment,
    Cosine,
    Evaluation,
    MultiStep,
    OneCycle,
    Recipe,
    Regime,
)
from search_spaces.searches.adaptive import Adaptive
from search_spaces.spec import (
    DATASETS,
    Augmentation,
    Dataset,
    Model,
    Pretraining,
    Pruning,
    Scores,
    Theta,
    Ticket,
    Transfer,
)
from search_spaces.study import Downstream, PruningPlan, Study

FGSM = {"kind": "fgsm", "epsilon": 0.1, "alpha": 0.125}
PGD = {"kind": "pgd", "epsilon": 0.1, "alpha": 0.05, "steps": 3}
AUTO = {"check": {"kind": "autoattack", "epsilon": 0.1}}
NAMED = {"format": "torchvision", "weights": "IMAGENET1K_V1"}
FILE = {"format": "robustness", "path": "weights/a.ckpt"}
RECIPE = {"epochs": 2, "lr": 0.1}
STANDARD = {"recipe": RECIPE}
TASK = {
    "dataset": {"name": "digits", "size": 16},
    "levels": [0, 2, 3],
    "regimes": {"standard": STANDARD, "adversarial": {"recipe": RECIPE, "attack": PGD}},
    "seeds": [0, 1],
}
STUDY = {
    "name": "small",
    "source": {
        "dataset": {"name": "mnist-mini", "size": 16},
        "model": {"arch": "resnet8"},
        "pretrainings": {"standard": {"train": STANDARD}},
    },
    "pruning": {"imp": {"method": "imp", "rounds": 3, "retraining": STANDARD}},
    "downstream": [TASK],
    "evaluation": {"attack": PGD},
}
THETA = Theta(
    dataset=STUDY["source"]["dataset"],
    model=STUDY["source"]["model"],
    pretraining={"train": STANDARD},
    evaluation=STUDY["evaluation"],
)


def changed(node, path, value):
    """A copy of `node` with `value` at the dotted path."""
    first, _, rest = path.partition(".")
    place = int(first) if isinstance(node, list) else first
    node = copy(node)
    node[place] = changed(node[place], rest, value) if rest else value
    return node


def refusal(model, data):
    """Path and message of the first fault."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    first = caught.value.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")


def refused_study(path, value):
    return refusal(Study, changed(STUDY, path, value))


def test_the_small_study_is_valid():
    assert Study.model_validate(STUDY).downstream[0].seeds == (0, 1)


def test_specs_are_frozen():
    study = Study.model_validate(STUDY)
    with pytest.raises(ValidationError, match="frozen"):
        study.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        study.source.dataset.size = 32


def test_specs_are_values():
    assert Recipe(**RECIPE) == Recipe(**RECIPE)
    assert len({Attack(**PGD), Attack(**PGD), Attack(**FGSM)}) == 2


@pytest.mark.parametrize(
    "path",
    [
        "wrong",
        "source.wrong",
        "source.dataset.wrong",
        "source.model.wrong",
        "source.pretrainings.standard.wrong",
        "source.pretrainings.standard.train.wrong",
        "source.pretrainings.standard.train.recipe.wrong",
        "pruning.imp.wrong",
        "pruning.imp.retraining.wrong",
        "downstream.0.wrong",
        "downstream.0.regimes.standard.wrong",
        "downstream.0.regimes.adversarial.attack.wrong",
        "evaluation.wrong",
    ],
)
def test_unknown_fields_are_refused_at_every_depth(path):
    assert refused_study(path, 1) == (path, "Extra inputs are not permitted")


@pytest.mark.parametrize(
    ("model", "good", "field", "value", "rule"),
    [
        (Augmentation, {}, "crop", -1, "greater than or equal to 0"),
        (Augmentation, {}, "crop", 33, "less than or equal to 32"),
        (Dataset, TASK["dataset"], "name", "digit", "mnist-mini, digits, "),
        (Dataset, TASK["dataset"], "view", "zoom", "'resize', 'crop' or 'wide_crop'"),
        (Dataset, TASK["dataset"], "label", "my digits", "match pattern"),
        (Dataset, TASK["dataset"], "sha256", "A" * 64, "match pattern"),
        (Dataset, TASK["dataset"], "size", 7, "greater than or equal to 8"),
        (Dataset, TASK["dataset"], "limit", 15, "greater than or equal to 16"),
        (Model, {"arch": "resnet8"}, "arch", "vgg", "takes resnet8"),
        (Model, {"arch": "resnet8"}, "width", 0, "greater than or equal to 1"),
        (Model, {"arch": "resnet8"}, "stem", "vgg", "'imagenet', 'cifar' or 'half'"),
        (Attack, PGD, "kind", "cw", "fgsm, n_fgsm, pgd, or your own"),
        (Attack, PGD, "epsilon", 0, "greater than 0"),
        (Attack, PGD, "epsilon", 8, "less than or equal to 1"),  # 8 of 255 in the wrong units
        (Attack, PGD, "alpha", float("nan"), "finite number"),
        (Attack, PGD, "steps", 0, "greater than or equal to 1"),
        (Attack, PGD, "restarts", 0, "greater than or equal to 1"),
        (Recipe, RECIPE, "epochs", 0, "greater than or equal to 1"),
        (Recipe, RECIPE, "epochs", 1.5, "valid integer"),
        (Recipe, RECIPE, "batch_size", 1, "greater than or equal to 2"),
        (Recipe, RECIPE, "lr", 0, "greater than 0"),
        (Recipe, RECIPE, "lr", float("inf"), "finite number"),
        (Recipe, RECIPE, "momentum", 1, "less than 1"),
        (Recipe, RECIPE, "weight_decay", -1e-4, "greater than or equal to 0"),
        (Recipe, RECIPE, "schedule", {"kind": "step"}, "'constant', 'multistep', 'cosine'"),
        (Recipe, RECIPE, "validate_from", 0, "greater than or equal to 1"),
        (MultiStep, {"kind": "multistep", "milestones": [1]}, "gamma", 1, "less than 1"),
        (OneCycle, {"kind": "one_cycle"}, "warmup", 0, "greater than 0"),
        (Cosine, {"kind": "cosine"}, "kind", "constant", "'cosine'"),
        (Containment, {}, "on_collapse", "restart", "'stop', 'continue' or 'lower_alpha'"),
        (Containment, {}, "probe_images", 15, "greater than or equal to 16"),
        (Containment, {}, "probe_steps", 1, "greater than or equal to 2"),
        (Containment, {}, "fall", 1, "less than 1"),
        (Containment, {}, "gap", 0, "greater than 0"),
        (Containment, {}, "bend", 0, "greater than 0"),
        (Containment, {}, "bend", 1, "less than 1"),
        (Containment, {}, "patience", 0, "greater than or equal to 1"),
        (Regime, STANDARD, "attack_mode", "both", "'train' or 'eval'"),
        (Evaluation, {"attack": PGD}, "protocol", "best", "'plain' or 'worst_iterate'"),
        (Pruning, {"method": "random"}, "method", "magnitude", "imp, one_shot, random, snip, "),
        (Pruning, {"method": "random"}, "method", "mine:", "package.module:object"),
        (Pruning, {"method": "random"}, "scope", "block", "'global', 'layer' or 'erk'"),
        (Pruning, {"method": "random"}, "structure", "4:4", "n below m"),
        (Pruning, {"method": "random"}, "structure", "half", "n below m"),
        (Pruning, {"method": "snip"}, "images", 0, "greater than or equal to 1"),
        (Pruning, {"method": "random"}, "rate", 0, "greater than 0"),
        (Pruning, {"method": "random"}, "seed", -1, "greater than or equal to 0"),
        (Scores, {"sa": 0.5}, "sa", 97.9, "less than or equal to 1"),
        (Scores, {"sa": 0.5}, "ra", -0.1, "greater than or equal to 0"),
    ],
)
def test_every_field_keeps_its_rule(model, good, field, value, rule):
    model.model_validate(good)
    place, message = refusal(model, {**good, field: value})
    assert place == field
    assert rule in message


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("8/255", 8 / 255),
        ("0.5/255", 0.5 / 255),
        (" 8 / 255 ", 8 / 255),
        ("0.15", 0.15),
        (0.15, 0.15),
        (1, 1.0),
    ],
)
def test_pixels_may_be_fractions(written, value):
    assert Attack(kind="pgd", epsilon=written, alpha=written).epsilon == value


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        *((w, "valid number") for w in ("8/0", "8/", "a/b", "1/2/3", "x")),
        *((w, "finite number") for w in ("1" + "0" * 400 + "/1", "nan/1")),
    ],
)
def test_what_is_no_fraction_is_refused(written, rule):
    place, message = refusal(Attack, {**PGD, "epsilon": written})
    assert (place, rule in message) == ("epsilon", True)


@pytest.mark.parametrize("kind", ["fgsm", "n_fgsm"])
def test_one_step_attacks_take_one_step(kind):
    assert Attack.model_validate({**FGSM, "kind": kind}).steps == 1
    _, message = refusal(Attack, {**FGSM, "kind": kind, "steps": 2})
    assert message == f"{kind} takes one step: leave steps out, or use kind: pgd"


def test_one_step_training_is_contained_by_default():
    for kind in ("fgsm", "n_fgsm"):
        attack = {**FGSM, "kind": kind}
        assert Regime(recipe=RECIPE, attack=attack).containment == Containment()
    assert Regime(recipe=RECIPE, attack=PGD).containment is None
    assert Regime(recipe=RECIPE).containment is None


def test_ones_own_containment_stays():
    own = {"on_collapse": "continue", "patience": 5}
    regime = Regime(recipe=RECIPE, attack=FGSM, containment=own)
    assert regime.containment == Containment(on_collapse="continue", patience=5)


@pytest.mark.parametrize("attack", [None, PGD])
def test_containment_elsewhere_is_refused(attack):
    _, message = refusal(Regime, {"recipe": RECIPE, "attack": attack, "containment": {}})
    assert message == "containment is for one-step attacks (fgsm, n_fgsm): leave it out"


def test_a_regime_survives_the_way_to_a_worker():
    for attack in (None, PGD, FGSM):
        regime = Regime(recipe=RECIPE, attack=attack)
        assert Regime.model_validate_json(regime.model_dump_json()) == regime


def test_validation_defaults_to_the_attack():
    assert Evaluation(attack=PGD).validation == Attack(**PGD)
    assert Evaluation(attack=PGD, validation=FGSM).validation == Attack(**FGSM)


def test_retraining_is_for_imp_alone():
    rule = "retraining is needed for methods imp and hydra, and only there"
    assert refusal(Pruning, {"method": "imp"})[1] == rule
    assert refusal(Pruning, {"method": "one_shot", "retraining": STANDARD})[1] == rule
    assert refusal(Pruning, {"method": "random", "retraining": STANDARD})[1] == rule


def test_imp_takes_rounds():
    rule = "method imp takes rounds: N (it passes through every level up to N)"
    imp = {"method": "imp", "retraining": STANDARD}
    assert PruningPlan(**imp, rounds=3).made_levels == (1, 2, 3)
    assert refusal(PruningPlan, imp)[1] == rule
    assert refusal(PruningPlan, {**imp, "levels": [3]})[1] == rule
    assert refusal(PruningPlan, {**imp, "rounds": 3, "levels": [3]})[1] == rule
    assert refusal(PruningPlan, {**imp, "rounds": 0})[0] == "rounds"


@pytest.mark.parametrize("method", ["one_shot", "random"])
def test_other_methods_take_levels(method):
    rule = f"method {method} takes levels: [K, ...], not rounds"
    assert PruningPlan(method=method, levels=[9, 4, 9]).made_levels == (4, 9)
    assert refusal(PruningPlan, {"method": method})[1] == rule
    assert refusal(PruningPlan, {"method": method, "rounds": 3})[1] == rule
    assert refusal(PruningPlan, {"method": method, "rounds": 3, "levels": [3]})[1] == rule
    assert refusal(PruningPlan, {"method": method, "levels": [4, 0]})[0] == "levels.1"


def test_what_a_method_does_not_use_is_refused():
    assert "sees no images" in refusal(Pruning, {"method": "synflow", "images": 8})[1]
    assert "of your own" in refusal(Pruning, {"method": "snip", "sha256": "0" * 64})[1]
    own = Pruning(method="mine.scores:by_size", sha256="0" * 64, images=8)
    assert own.scope == "global" and own.pattern is None


def test_levels_that_a_pattern_does_not_hold_are_refused():
    half = {"method": "one_shot", "structure": "2:4"}
    assert PruningPlan(**half, levels=[4, 9]).pattern == (2, 4)
    assert PruningPlan(**half, rate=0.5, levels=[1]).fits(1)
    assert (
        "level 3 at rate 0.2 keeps 51.20 %" in refusal(PruningPlan, {**half, "levels": [4, 3]})[1]
    )
    imp = {"method": "imp", "retraining": STANDARD, "structure": "2:4", "rounds": 3}
    assert "level 1 at rate 0.2" in refusal(PruningPlan, imp)[1]
    assert PruningPlan(**imp, rate=0.5).made_levels == (1, 2, 3)


def test_a_plans_pruning_leaves_the_plan_behind():
    plan = PruningPlan(method="random", rate=0.3, seed=4, levels=[2], pretrainings=["standard"])
    assert type(plan.pruning) is Pruning
    assert plan.pruning == Pruning(method="random", rate=0.3, seed=4)


def test_level_0_and_only_level_0_has_no_pruning():
    rule = "level 0 has no pruning, every other level has one"
    random = {"method": "random"}
    assert Ticket(theta=THETA, pruning=None, level=0).level == 0
    assert Ticket(theta=THETA, pruning=random, level=1).level == 1
    assert refusal(Ticket, {"theta": THETA, "pruning": random, "level": 0})[1] == rule
    assert refusal(Ticket, {"theta": THETA, "pruning": None, "level": 1})[1] == rule
    assert refusal(Ticket, {"theta": THETA, "pruning": None, "level": -1})[0] == "level"


def test_a_transfers_fraction_is_a_share():
    dense = {"ticket": {"theta": THETA, "pruning": None, "level": 0}, "dataset": TASK["dataset"]}
    whole = {**dense, "regime": STANDARD, "evaluation": {"attack": PGD}, "seed": 0}
    assert Transfer.model_validate(whole).fraction == 1.0
    assert refusal(Transfer, {**whole, "fraction": 0})[0] == "fraction"
    assert refusal(Transfer, {**whole, "fraction": 10})[0] == "fraction"
    assert refusal(Transfer, {**whole, "seed": -1})[0] == "seed"


@pytest.mark.parametrize(
    ("name", "attack", "rule"),
    [
        ("standard", PGD, "regime standard takes no attack, not pgd"),
        ("standard", FGSM, "regime standard takes no attack, not fgsm"),
        ("fast_adversarial", PGD, "regime fast_adversarial takes fgsm or n_fgsm, not pgd"),
        ("fast_adversarial", None, "regime fast_adversarial takes fgsm or n_fgsm, not no attack"),
        ("adversarial", FGSM, "regime adversarial takes pgd or your own, not fgsm"),
        ("adversarial", None, "regime adversarial takes pgd or your own, not no attack"),
    ],
)
def test_regime_names_mean_what_they_say(name, attack, rule):
    regime = {"recipe": RECIPE, "attack": attack}
    assert refused_study("downstream.0.regimes", {name: regime}) == ("downstream.0", rule)


def test_other_regime_names_are_refused():
    place, message = refused_study("downstream.0.regimes", {"robust": STANDARD})
    assert place.startswith("downstream.0.regimes.robust")
    assert "'standard', 'fast_adversarial' or 'adversarial'" in message


@pytest.mark.parametrize(
    ("field", "values"), [("levels", [0, 2, 0]), ("seeds", [1, 1]), ("fractions", [0.1, 0.1])]
)
def test_values_named_twice_are_refused(field, values):
    _, message = refusal(Downstream, {**TASK, field: values})
    assert message == f"{field} has a value twice: {values}"


@pytest.mark.parametrize("field", ["levels", "seeds", "regimes"])
def test_a_task_without_work_is_refused(field):
    empty = type(TASK[field])()
    assert refused_study(f"downstream.0.{field}", empty)[0].startswith(f"downstream.0.{field}")


@pytest.mark.parametrize("path", ["source.pretrainings", "downstream"])
def test_a_study_without_work_is_refused(path):
    empty = {} if path == "source.pretrainings" else []
    place, message = refused_study(path, empty)
    assert (place, "at least 1 item" in message) == (path, True)


def test_levels_beyond_the_rounds_are_refused():
    _, message = refused_study("downstream.0.levels", [0, 4])
    assert message == (
        "downstream.0.levels: level 4 is beyond what pruning makes (up to 3): "
        "add rounds or drop the level"
    )
    assert "level 2 is beyond what pruning makes (up to 0)" in refused_study("pruning", {})[1]


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("pruning.imp.pretrainings", ["fat"], "pruning.imp.pretrainings: fat is not one of"),
        (
            "downstream.0.regimes.standard.only",
            {"pretrainings": ["fat"]},
            "downstream.0.regimes.standard.only.pretrainings: fat is not one of standard",
        ),
        (
            "downstream.0.regimes.standard.only",
            {"pruning": ["random"]},
            "downstream.0.regimes.standard.only.pruning: random is not one of imp",
        ),
        (
            "downstream.0.regimes.adversarial.only",
            {"levels": [1]},
            "downstream.0.regimes.adversarial.only.levels: 1 is not one of 0, 2, 3",
        ),
        (
            "downstream.0.checks",
            [AUTO, {**AUTO, "only": {"pretrainings": ["fat"]}}],
            "downstream.0.checks.1.only.pretrainings: fat is not one of standard",
        ),
        (
            "downstream.0.checks",
            [{**AUTO, "only": {"pruning": ["random"]}}],
            "downstream.0.checks.0.only.pruning: random is not one of imp",
        ),
        (
            "downstream.0.checks",
            [{**AUTO, "only": {"levels": [1]}}],
            "downstream.0.checks.0.only.levels: 1 is not one of 0, 2, 3",
        ),
    ],
)
def test_only_names_what_there_is(path, value, rule):
    assert refused_study(path, value)[1].startswith(rule)


def test_the_name_dense_is_kept():
    plan = {"method": "random", "levels": [2]}
    _, message = refused_study("pruning", {**STUDY["pruning"], "dense": plan})
    assert message == "pruning.dense: the name dense is kept for level 0"


def test_a_dataset_and_fraction_stand_in_one_task_only():
    _, message = refused_study("downstream", [TASK, TASK])
    assert message == (
        "downstream: a dataset and fraction occur twice in ['digits', 'digits']: give one a label"
    )
    overlapping = [{**TASK, "fractions": [1.0, 0.1]}, {**TASK, "fractions": [0.1]}]
    assert refused_study("downstream", overlapping)[1] == message


@pytest.mark.parametrize(
    "other", [{"fractions": [0.1]}, {"dataset": {**TASK["dataset"], "label": "again"}}]
)
def test_a_dataset_may_return_with_other_fractions_or_a_label(other):
    study = Study.model_validate(changed(STUDY, "downstream", [TASK, {**TASK, **other}]))
    assert len(study.downstream) == 2


def test_a_label_of_another_task_is_no_other_name():
    tasks = [TASK, {**TASK, "dataset": {"name": "mnist-mini", "size": 16, "label": "digits"}}]
    assert "occur twice in ['digits', 'digits']" in refused_study("downstream", tasks)[1]


def test_a_datasets_title_is_its_label_or_name():
    assert Dataset(**TASK["dataset"]).title == "digits"
    assert Dataset(**TASK["dataset"], label="mine").title == "mine"


@pytest.mark.parametrize("name", ["npz", "folder"])
def test_files_of_ones_own_need_a_path(name):
    own = {"name": name, "size": 16}
    assert Dataset(**own, path="data/x").path == "data/x"
    rule = f"dataset {name} needs path: where its files are"
    assert refusal(Dataset, own) == ("", rule)


def test_a_pretraining_is_trained_or_loaded():
    rule = "a pretraining has either train: or load:"
    assert Pretraining(train=STANDARD).load is None
    assert Pretraining(load=FILE).train is None
    assert refusal(Pretraining, {})[1] == rule
    assert refusal(Pretraining, {"train": STANDARD, "load": FILE})[1] == rule


@pytest.mark.parametrize("kind", ["robustness", "fast_adversarial", "state_dict"])
def test_weights_have_a_name_or_a_path(kind):
    rule = "formats torchvision, timm, huggingface take weights: NAME, others path: FILE"
    assert Checkpoint(**NAMED).path is None
    assert Checkpoint(format=kind, path="a.pt").weights is None
    refused = [
        {"format": "torchvision"},
        {**NAMED, "path": "a.pt"},
        {"format": "torchvision", "path": "a.pt"},
        {"format": kind},
        {"format": kind, "weights": "IMAGENET1K_V1"},
        {"format": kind, "weights": "IMAGENET1K_V1", "path": "a.pt"},
    ]
    assert {refusal(Checkpoint, data)[1] for data in refused} == {rule}


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "../a", "a\n", "x" * 61])
def test_names_are_plain(name):
    assert refused_study("name", name)[0] == "name"
    assert refused_study("pruning", {name: STUDY["pruning"]["imp"]})[0].startswith("pruning.")


def test_every_architecture_can_be_built():
    from trainables.models.resnets import PLANS

    assert set(RESNETS) == set(PLANS)


def test_every_dataset_can_be_read():
    from trainables.data.datasets import READERS

    assert set(DATASETS) == set(READERS)


# Levels that a search chooses


def adaptive(levels="adaptive", **changes):
    return {**TASK, "levels": levels, **changes}


def test_levels_are_listed_or_searched_for():
    bare = Downstream.model_validate(adaptive())
    assert bare.levels == bare.adaptive == Adaptive(bounds=None, budget=60, most_seeds=30)
    assert Downstream.model_validate(TASK).adaptive is None
    written = {"bounds": [2, 3], "budget": 40, "most_seeds": 5}
    assert Downstream.model_validate(adaptive(written)).adaptive == Adaptive(**written)
    assert Downstream.model_validate(adaptive({})).adaptive == Adaptive()
    assert bare.margin == 0.01


@pytest.mark.parametrize(
    ("bounds", "tried"), [(None, [0, 1, 2, 3, 60]), ([2, 3], [0, 2, 3]), ([3, 3], [0, 3])]
)
def test_a_search_tries_dense_and_what_lies_within_its_bounds(bounds, tried):
    task = Downstream.model_validate(adaptive({"bounds": bounds}))
    assert [level for level in (0, 1, 2, 3, 60) if task.has_level(level)] == tried
    assert [level for level in range(5) if Downstream.model_validate(TASK).has_level(level)] == [
        *(0, 2, 3)
    ]


def test_the_seeds_of_a_search_go_on_counting():
    def of(seeds, most):
        task = Downstream.model_validate(adaptive({"most_seeds": most}, seeds=seeds))
        return task.all_seeds

    assert of([0, 1], 4) == (0, 1, 2, 3)
    assert of([7, 3], 5) == (7, 3, 8, 9, 10)
    assert of([5, 6], 2) == (5, 6)
    assert Downstream.model_validate(TASK).all_seeds == (0, 1)


def explained(**changes):
    """The one line that a user reads of a faulty task."""
    data = changed(STUDY, "downstream", [{**TASK, **changes}])
    with pytest.raises(InputError) as caught:
        studies.validate(data, "small.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


FAST = {"recipe": RECIPE, "attack": FGSM}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"levels": "adaptve"}, "downstream.0.levels: takes a list of levels, or adaptive"),
        ({"levels": "all"}, "downstream.0.levels: takes a list of levels, or adaptive"),
        ({"levels": 3}, "downstream.0.levels: takes a list of levels, or adaptive"),
        ({"levels": [0, -1]}, "downstream.0.levels.1: Input should be greater than or equal to 0"),
        ({"levels": {"budgt": 50}}, "budgt: unknown field"),
        ({"levels": {"budget": 9}}, "budget: Input should be greater than or equal to 10"),
        ({"levels": {"most_seeds": 1}}, "most_seeds: Input should be greater than or equal to 2"),
        ({"levels": {"most_seeds": 2000}}, "most_seeds: Input should be less than or equal to"),
        ({"levels": {"bounds": [3, 2]}}, "bounds: [3, 2] must ascend: [LOWEST, HIGHEST]"),
        ({"levels": {"bounds": [0, 2]}}, "greater than or equal to 1"),
        ({"levels": {"bounds": [2]}}, "bounds"),
        (
            {"levels": {"bounds": [4, 9]}},
            "downstream.0.levels.bounds: pruning makes no level within them",
        ),
        (
            {"levels": {"most_seeds": 2}, "seeds": [0, 1, 2]},
            "seeds: more than most_seeds (2)",
        ),
        (
            {"levels": {"budget": 10}, "seeds": [0, 1, 2, 3, 4]},
            "levels.budget: 10 ends before a level is tried: with 5 seeds of the dense network it "
            "takes 12",
        ),
        (
            {"levels": "adaptive", "regimes": {"standard": STANDARD}},
            "levels: adaptive searches by the regimes standard and adversarial",
        ),
        (
            {"levels": "adaptive", "regimes": {**TASK["regimes"], "fast_adversarial": FAST}},
            "put others in a downstream entry of their own, with a label",
        ),
        (
            {
                "levels": "adaptive",
                "regimes": {**TASK["regimes"], "standard": {**STANDARD, "only": {"levels": [2]}}},
            },
            "levels: adaptive chooses levels itself: leave only.levels out",
        ),
        ({"margin": 0}, "downstream.0.margin: Input should be greater than 0"),
        ({"margin": 1}, "downstream.0.margin: Input should be less than 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_faulty_levels_are_explained_in_one_line(changes, said):
    line = explained(**changes)
    assert said in line
    assert "listed" not in line and "searched" not in line, "the place is as it is written"


def test_names_like_the_kinds_of_levels_stay_in_a_place():
    for name in ("list", "listed", "adaptive", "searched"):
        data = changed(STUDY, "pruning", {name: {**STUDY["pruning"]["imp"], "rate": 2}})
        with pytest.raises(InputError, match=f"pruning.{name}.rate: "):
            studies.validate(data, "small.yaml")


def test_checks_of_a_search_may_name_levels_within_its_bounds():
    check = {**AUTO, "only": {"levels": [2]}}
    within = changed(STUDY, "downstream", [adaptive({"bounds": [2, 3]}, checks=[check])])
    assert Study.model_validate(within)
    outside = adaptive({"bounds": [2, 3]}, checks=[{**AUTO, "only": {"levels": [1]}}])
    _, message = refusal(Study, changed(STUDY, "downstream", [outside]))
    assert message.startswith("downstream.0.checks.0.only.levels: 1 is not one of 0, 2, 3")


@pytest.mark.parametrize(
    "levels", ["adaptive", {"bounds": [2, 3], "budget": 40, "most_seeds": 7}, [0, 2]]
)
@pytest.mark.parametrize("without_none", [True, False])
def test_a_study_survives_its_own_yaml(levels, without_none):
    """As the tracker writes study.yaml and the analysis reads it."""
    import yaml

    study = Study.model_validate(changed(STUDY, "downstream", [adaptive(levels, margin=0.02)]))
    content = study.model_dump(mode="json", exclude_none=without_none)
    text = yaml.safe_dump(content, sort_keys=False)
    assert studies.validate(studies.parse(text, "study.yaml"), "study.yaml") == study


def test_autoattack_has_a_norm_and_linf_is_the_one_it_had():
    old = AutoAttackCheck(kind="autoattack", epsilon=0.1)
    assert "norm" not in canonical(old)
    assert AutoAttackCheck(kind="autoattack", norm="l2", epsilon=1.5).epsilon == 1.5
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        AutoAttackCheck(kind="autoattack", epsilon=1.5)


def test_a_confirmation_is_named_and_enters_no_key():
    plain = {"attack": PGD}
    named = Evaluation(**plain, confirm="autoattack")
    assert named.confirm == Evaluation(**plain, confirm={"kind": "autoattack"}).confirm
    assert canonical(named) == canonical(Evaluation(**plain)) and not named.of_each.confirm
    with pytest.raises(ValidationError, match="confirm"):
        Evaluation(**plain, confirm="square")
