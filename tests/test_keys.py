"""Names from content: what enters a key, and what does not."""

import json
from copy import deepcopy

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from search_spaces import grid
from search_spaces.keys import canonical, key
from search_spaces.spec import Dataset, Model, Pruning, Recipe, Study, Transfer

# Every optional field has a value, so that each one is there to be changed.
RECIPE = {
    "epochs": 3,
    "lr": 0.1,
    "schedule": {"kind": "multistep", "milestones": [1, 2], "gamma": 0.1},
}
REGIME = {
    "recipe": RECIPE,
    "attack": {"kind": "fgsm", "epsilon": 0.1, "alpha": 0.125},
    "containment": {"patience": 3},
}
PGD = {"kind": "pgd", "epsilon": 0.1, "alpha": 0.05, "steps": 3}
EVALUATION = {"attack": {**PGD, "steps": 20}, "validation": PGD}
FULL = {
    "ticket": {
        "theta": {
            "dataset": {"name": "mnist-mini", "size": 16, "limit": 64},
            "model": {"arch": "resnet8", "width": 8, "stem": "half"},
            "pretraining": {"train": REGIME},
            "evaluation": EVALUATION,
            "seed": 1,
        },
        "pruning": {"method": "imp", "retraining": REGIME},
        "level": 4,
    },
    "dataset": {"name": "digits", "size": 16, "limit": 64},
    "fraction": 0.5,
    "regime": REGIME,
    "evaluation": EVALUATION,
    "seed": 2,
}
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
        else:
            yield name, spec.model_copy(update={name: other(value)})


def leaves(fields, prefix=""):
    """Dotted paths of a nested mapping's leaves."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


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


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_leaf_of_a_transfer_enters_its_key():
    transfer = Transfer(**FULL)
    keys = {path: key(changed) for path, changed in perturbed(transfer)}
    assert set(keys) == set(leaves(transfer.model_dump()))
    assert [path for path, name in keys.items() if name == key(transfer)] == []
    assert len(set(keys.values())) == len(keys)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_childs_key_changes_with_its_parents():
    transfer = Transfer(**FULL)
    ticket = transfer.ticket
    for _, theta in perturbed(ticket.theta):
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


def test_canonical_json_is_sorted_and_without_white_space():
    text = canonical(Transfer(**FULL))
    assert not any(character.isspace() for character in text)
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


def keys(of, cells):
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
    for found in (lambda s: keys(s, grid.tickets), transfer_keys):
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
