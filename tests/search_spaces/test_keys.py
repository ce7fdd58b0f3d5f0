"""Names from content: what enters a key, and what does not."""

import json
import weakref
from copy import deepcopy

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from search_spaces import grid
from search_spaces.base import LATER
from search_spaces.keys import MOST_PARTS, canonical, key, keys
from search_spaces.networks import Checkpoint
from search_spaces.reading import studies
from search_spaces.regimes import Attack, Recipe
from search_spaces.spec import Dataset, Model, Pretraining, Pruning, Theta, Transfer
from search_spaces.study import Study

# Every optional field has a value, so that each one is there to be changed. Where only one of two
# may have one, the other is in a spec of its own: LOADED, NAMED.
RECIPE = {
    "epochs": 3,
    "micro_batch": 16,
    "clip": 1.0,
    "averaging": {"kind": "ema", "decay": 0.99},
    "lr": 0.1,
    "schedule": {"kind": "multistep", "milestones": [1, 2], "gamma": 0.1},
}
REGIME = {
    "recipe": RECIPE,
    "attack": {"kind": "fgsm", "epsilon": 0.1, "alpha": 0.125},
    "containment": {"patience": 3},
    "loss": {"kind": "trades", "beta": 3.0},
    "awp": {"gamma": 0.02},
}
PGD = {"kind": "pgd", "epsilon": 0.1, "alpha": 0.05, "steps": 3}
EVALUATION = {
    "attack": {**PGD, "steps": 20},
    "validation": PGD,
    "batch_size": 64,
    "confirm": {"kind": "autoattack", "images": 64},
}
HASH = "0" * 64
DATASET = {
    "name": "npz",
    "size": 16,
    "limit": 64,
    "view": "crop",
    "label": "mine",
    "path": "here.npz",
    "sha256": HASH,
}
USERS = {
    "arch": "mine:network",
    "options": {"width": 8},
    "head": "fc",
    "prunable": ["conv*"],
    "sha256": "0" * 64,
}
MODEL = {
    "arch": "resnet8",
    "width": 8,
    "stem": "half",
    "normalisation": {"mean": [0.5], "std": [0.25]},
}
FILE = {"format": "state_dict", "path": "weights.pt", "sha256": HASH}
NAMED = {"format": "torchvision", "weights": "IMAGENET1K_V1", "sha256": HASH}
HOSTED = {
    "format": "huggingface",
    "weights": "a/b/c",
    "revision": "v1",
    "only": "ema",
    "sha256": HASH,
}
OWN_ATTACK = {"kind": "mine.attacks:shift", "sha256": "0" * 64, "epsilon": 0.1, "alpha": 0.1}
OWN = {
    "method": "mine.scores:by_size",
    "sha256": HASH,
    "scope": "erk",
    "structure": "2:4",
    "rewind": "late",
    "rewind_epoch": 1,
    "images": 64,
}
THETA = {
    "dataset": DATASET,
    "model": MODEL,
    "pretraining": {"train": REGIME},
    "evaluation": EVALUATION,
    "seed": 1,
}
LOADED = {**THETA, "pretraining": {"load": FILE}}
FULL = {
    "ticket": {
        "theta": THETA,
        "pruning": {"method": "imp", "retraining": REGIME},
        "level": 4,
    },
    "dataset": DATASET,
    "fraction": 0.5,
    "regime": REGIME,
    "evaluation": EVALUATION,
    "seed": 2,
    "checks": [
        {"kind": "autoattack", "epsilon": 0.1, "images": 8},
        {"kind": "transfer_attack", "attack": PGD, "model": MODEL, "load": FILE, "images": 8},
    ],
}
SURROGATE = {"kind": "transfer_attack", "attack": PGD, "model": MODEL, "train": REGIME}
CHECKED = {**FULL, "checks": [SURROGATE]}
STANDARD = {"recipe": {"epochs": 1, "lr": 0.1}}
STUDY = {
    "name": "small",
    "source": {
        "dataset": {"name": "mnist-mini", "size": 16},
        "model": {"arch": "resnet8"},
        "pretrainings": {"standard": {"train": STANDARD}, "other": {"train": STANDARD}},
    },
    "pruning": {
        "imp": {"method": "imp", "rounds": 3, "retraining": STANDARD},
        "random": {"method": "random", "levels": [2]},
    },
    "downstream": [
        {
            "dataset": {"name": "digits", "size": 16},
            "levels": [0, 2],
            "regimes": {"standard": STANDARD},
            "seeds": [0],
        }
    ],
    "evaluation": {"attack": PGD},
}


def other(value):
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.75 + 0.01
    if isinstance(value, str):
        return value + "~"
    if isinstance(value, tuple):
        return (*value, 7)
    raise TypeError(f"no other value for {value!r}: give this field one in FULL")


def perturbed(spec):
    """(path, the spec with that one leaf changed) for every leaf, unvalidated."""
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, BaseModel):
            for path, child in perturbed(value):
                yield f"{name}.{path}", spec.model_copy(update={name: child})
        elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
            for place, item in enumerate(value):
                for path, child in perturbed(item):
                    items = (*value[:place], child, *value[place + 1 :])
                    yield f"{name}.{place}.{path}", spec.model_copy(update={name: items})
        elif value is not None:
            yield name, spec.model_copy(update={name: other(value)})


def fields_of(spec):
    """(spec, field) for every field anywhere inside, with its value."""
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        yield type(spec).__name__, name, value
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, BaseModel):
                yield from fields_of(item)


def is_outside(path):
    """Does a field say where something is, or what confirms a verdict?"""
    *parents, last = path.split(".")
    return last == "path" or "confirm" in parents


def study(**changes):
    return Study.model_validate({**deepcopy(STUDY), **changes})


def test_equal_specs_have_equal_keys():
    assert key(Transfer(**FULL)) == key(Transfer(**deepcopy(FULL)))
    assert key(Recipe(epochs=1, lr=1)) == key(Recipe(epochs=1, lr=1.0, momentum=0.9))
    written = {**FULL["regime"]["attack"], "epsilon": "1/10"}
    assert key(Transfer(**{**FULL, "regime": {**REGIME, "attack": written}})) == key(
        Transfer(**FULL)
    )


def test_a_key_is_16_hexadecimal_digits():
    name = key(Transfer(**FULL))
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")


WHOLE = {
    "transfer": Transfer(**FULL),
    "checked transfer": Transfer(**CHECKED),
    "loaded theta": Theta(**LOADED),
    "named weights": Checkpoint(**NAMED),
    "hosted weights": Checkpoint(**HOSTED),
    "criterion": Pruning(**OWN),
    "attack": Attack(**OWN_ATTACK),
    "own network": Model(**USERS),
}


def test_every_field_has_a_value_somewhere():
    fields = {(kind, name) for spec in WHOLE.values() for kind, name, _ in fields_of(spec)}
    with_value = {
        (k, name)
        for spec in WHOLE.values()
        for k, name, value in fields_of(spec)
        if value is not None
    }
    assert fields - with_value == set()


@pytest.mark.parametrize("kind", WHOLE)
def test_every_leaf_of_what_decides_a_result_enters_the_key(kind):
    spec = WHOLE[kind]
    keys = {path: key(changed) for path, changed in perturbed(spec)}
    unchanged = {path for path, name in keys.items() if name == key(spec)}
    assert unchanged == {path for path in keys if is_outside(path)}
    others = [name for path, name in keys.items() if not is_outside(path)]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("spec", [Dataset(**DATASET), Checkpoint(**FILE)])
def test_what_a_file_is_enters_the_key_and_where_it_is_does_not(spec):
    assert "path" not in canonical(spec)
    assert key(spec.model_copy(update={"path": "/elsewhere"})) == key(spec)
    assert key(spec.model_copy(update={"sha256": "1" * 64})) != key(spec)


def test_training_and_loading_are_apart():
    trained, loaded = Pretraining(train=REGIME), Pretraining(load=FILE)
    assert key(trained) != key(loaded)
    assert canonical(trained).startswith('{"train":') and canonical(loaded).startswith('{"load":')


def test_further_checks_enter_a_key_only_where_there_are_any():
    without = {name: value for name, value in FULL.items() if name != "checks"}
    assert "checks" not in canonical(Transfer(**without))
    assert key(Transfer(**without, checks=None)) == key(Transfer(**without))
    assert key(Transfer(**without)) != key(Transfer(**FULL))


def test_a_surrogate_is_trained_once_for_all_transfers_that_it_checks():
    transfer = Transfer(**{**CHECKED, "regime": STANDARD})
    (theta,) = transfer.surrogates
    for changes in ({"seed": 9}, {"fraction": 0.25}, {"regime": transfer.regime}):
        assert key(transfer.model_copy(update=changes).surrogates[0]) == key(theta)
    longer = {**REGIME, "recipe": {**RECIPE, "epochs": 9}}
    other = Transfer(**{**CHECKED, "checks": [{**SURROGATE, "train": longer}]})
    assert key(other.surrogates[0]) != key(theta)
    assert Transfer(**FULL).surrogates == ()


def test_a_childs_key_changes_with_its_parents():
    transfer = Transfer(**FULL)
    ticket = transfer.ticket
    for path, theta in perturbed(ticket.theta):
        if is_outside(path):
            continue
        child = ticket.model_copy(update={"theta": theta})
        grandchild = transfer.model_copy(update={"ticket": child})
        assert key(theta) != key(ticket.theta)
        assert key(child) != key(ticket)
        assert key(grandchild) != key(transfer)


def test_kinds_are_apart():
    class Other(Dataset):
        pass

    same = {"name": "digits", "size": 16}
    assert canonical(Dataset(**same)) == canonical(Other(**same))
    assert key(Dataset(**same)) != key(Other(**same))


def test_absent_options_are_not_hashed():
    assert "width" not in canonical(Model(arch="resnet8"))
    assert "width" in canonical(Model(arch="resnet8", width=16))
    assert canonical(Pruning(method="random")) == '{"method":"random","rate":0.2,"seed":0}'
    dense = Transfer(**{**FULL, "ticket": {**FULL["ticket"], "pruning": None, "level": 0}})
    assert "pruning" not in canonical(dense)
    assert "null" not in canonical(dense)


def test_a_new_absent_option_leaves_the_keys_as_they_were():
    class Before(Model):
        pass

    old = key(Before(arch="resnet8"))

    class After(Model):
        dropout: float | None = None

    After.__name__ = "Before"
    assert key(After(arch="resnet8")) == old
    assert key(After(arch="resnet8", dropout=0.1)) != old


def test_a_later_field_enters_a_key_only_where_it_is_not_at_its_default():
    class Before(Model):
        pass

    class After(Model):
        dropout: float = Field(0.0, json_schema_extra=LATER)

    After.__name__ = "Before"
    assert key(After(arch="resnet8")) == key(After(arch="resnet8", dropout=0.0))
    assert key(After(arch="resnet8")) == key(Before(arch="resnet8"))
    assert key(After(arch="resnet8", dropout=0.1)) != key(Before(arch="resnet8"))


def test_canonical_json_is_sorted_and_without_white_space():
    text = canonical(Transfer(**FULL))
    assert not any(character.isspace() for character in text)
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


def cell_keys(of, cells):
    return {(cell.pretraining, cell.pruning, cell.level): cell.key for cell in cells(of)}


def transfer_keys(of):
    return {tuple(cell.labels.values()): cell.key for cell in grid.transfers(of)}


@pytest.mark.parametrize(
    "plans",
    [
        {"imp": {**STUDY["pruning"]["imp"], "rounds": 2}},
        {"imp": {**STUDY["pruning"]["imp"], "rounds": 9}},
        {"imp": {**STUDY["pruning"]["imp"], "pretrainings": ["other"]}},
        {"random": {**STUDY["pruning"]["random"], "levels": [1, 2, 3, 8]}},
        {"random": {**STUDY["pruning"]["random"], "pretrainings": ["standard"]}},
    ],
)
def test_how_many_tickets_are_made_enters_no_key(plans):
    before, after = study(), study(pruning=STUDY["pruning"] | plans)
    for found in (lambda s: cell_keys(s, grid.tickets), transfer_keys):
        old, new = found(before), found(after)
        both = old.keys() & new.keys()
        assert both
        assert {cell: old[cell] for cell in both} == {cell: new[cell] for cell in both}


def test_only_enters_no_key():
    regime = {**STANDARD, "only": {"pretrainings": ["other"], "pruning": ["imp"], "levels": [2]}}
    task = {**STUDY["downstream"][0], "regimes": {"standard": regime}}
    restricted = transfer_keys(study(downstream=[task]))
    assert len(restricted) == 1
    assert restricted.items() <= transfer_keys(study()).items()


def test_a_studys_names_for_its_parts_enter_no_key():
    renamed = study(
        name="renamed",
        pruning={"magnitude": STUDY["pruning"]["imp"], "luck": STUDY["pruning"]["random"]},
    )
    assert sorted(transfer_keys(renamed).values()) == sorted(transfer_keys(study()).values())


def shuffled(node, random):
    """The same content with every mapping's fields in another order."""
    if isinstance(node, dict):
        names = list(node)
        random.shuffle(names)
        return {name: shuffled(node[name], random) for name in names}
    return node


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_keys_do_not_depend_on_the_order_of_fields(random):
    text = yaml.safe_dump(shuffled(FULL, random), sort_keys=False)
    assert key(Transfer.model_validate(yaml.safe_load(text))) == key(Transfer(**FULL))


def test_many_keys_at_once_are_those_of_each():
    study = studies.load("quickstart")
    specs = [cell.transfer for cell in grid.transfers(study)]
    specs += [cell.ticket for cell in grid.tickets(study)]
    assert keys(specs) == [key(spec) for spec in specs]
    assert keys([]) == []


def test_canonical_text_is_what_json_writes():
    spec = Theta(**LOADED)
    content = spec.model_dump(mode="json", exclude_none=True)
    del content["pretraining"]["load"]["path"], content["dataset"]["path"]
    del content["evaluation"]["confirm"]
    for attack in content["evaluation"]["attack"], content["evaluation"]["validation"]:
        del attack["norm"]  # At its default, and later than the first keys.
    assert canonical(spec) == json.dumps(content, sort_keys=True, separators=(",", ":"))


def test_what_is_remembered_of_parts_is_bounded_and_never_anothers():
    """Parts come and go by the thousand: an id that is used again is not taken for the former."""
    from search_spaces.regimes import Attack, Evaluation, Recipe, Regime
    from search_spaces.spec import Dataset, Model, Pretraining, Theta

    pgd = Attack(kind="pgd", epsilon=0.1, alpha=0.1)
    fixed = {
        "model": Model(arch="resnet8"),
        "pretraining": Pretraining(train=Regime(recipe=Recipe(epochs=1, lr=0.1))),
        "evaluation": Evaluation(attack=pgd),
    }
    first, last = 16, 16 + 2 * MOST_PARTS
    found, of_first = set(), None
    for limit in range(first, last):
        theta = Theta(dataset=Dataset(name="digits", size=8, limit=limit), **fixed)
        of_first = of_first or weakref.ref(theta)
        found.add(key(theta))
    assert len(found) == last - first
    assert of_first() is None
    again = Theta(dataset=Dataset(name="digits", size=8, limit=first), **fixed)
    assert key(again) in found
