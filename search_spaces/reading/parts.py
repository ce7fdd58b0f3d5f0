"""Parts of a study as a command line gives them, one by one."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from search_spaces.base import Spec
from search_spaces.errors import InputError
from search_spaces.networks import Model
from search_spaces.reading.studies import explain, yaml_value
from search_spaces.regimes import Attack

S = TypeVar("S", bound=Spec)


def valid(kind: type[S], place: str, fields: dict[str, Any]) -> S:
    """A spec of its fields. Raises InputError, which names the place and the rule."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{place}: {explain(error)}") from None


def pgd(given: Mapping[str, str | int | None], own: Attack | None = None) -> Attack:
    """PGD by the fields that are given (norm, epsilon, alpha, steps, restarts; None: not given), in
    numbers as people write them, 8/255 as well; its others are those of an attack of one's own, or
    else 20 steps from one start in the linf ball.

    Of a norm alone the radius is RobustBench's, 8/255 for linf and 0.5 for l2; of a radius alone
    the step is a quarter of it. Raises InputError.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    known = own.model_dump() if own else {"kind": "pgd", "norm": "linf", "steps": 20}
    if "norm" in chosen or own is None:
        radius = "0.5" if chosen.get("norm") == "l2" else "8/255"
        chosen = {"epsilon": radius, **chosen}
    fields = {**known, **chosen}
    if "epsilon" not in chosen or "alpha" in chosen:
        return valid(Attack, "attack", fields)
    attack = valid(Attack, "attack", {**fields, "alpha": chosen["epsilon"]})
    return attack.model_copy(update={"alpha": attack.epsilon / 4})


def levels(text: str | None) -> frozenset[int] | None:
    """Levels as in 0,4,9; None where none are given. Raises InputError."""
    if text is None:
        return None
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 4 for part in numbers):
        raise InputError(f"--levels {text}: write whole numbers from 0, as in 0,4,9")
    return frozenset(map(int, numbers))


def statistics(mean: str | None, std: str | None, channels: int) -> dict[str, list[str]]:
    """--mean and --std, a number for each channel or one for all, as fields of a normalisation;
    empty where they are not given. Raises InputError."""
    if mean is None or std is None:
        if mean is not std:
            raise InputError("--mean and --std: give both, or neither")
        return {}
    numbers = {"mean": mean.split(","), "std": std.split(",")}
    for name, given in numbers.items():
        if len(given) not in (1, channels):
            raise InputError(
                f"--{name} {','.join(given)}: the images have {channels} colour channels: give a "
                "number for each, or one for all"
            )
    return {name: given * (channels // len(given)) for name, given in numbers.items()}


def model(arch: str, further: str, statistics: dict[str, list[str]]) -> Model:
    """A network by its name; further: its other fields as YAML; statistics: mean and std of pixels,
    where they are given. Raises InputError."""
    fields = yaml_value(further, "--model: not valid YAML")
    if not isinstance(fields, dict):
        raise InputError(f"--model {further}: must map fields to values, as in '{{width: 8}}'")
    if statistics:
        fields = {**fields, "normalisation": statistics}
    return valid(Model, "network", {"arch": arch, **fields})
