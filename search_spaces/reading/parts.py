"""Parts of a study as a command line gives them, one by one."""

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


def pgd(norm: str, epsilon: str | None, alpha: str | None, steps: int, restarts: int) -> Attack:
    """PGD of numbers as people write them, 8/255 as well. Defaults: the radii of RobustBench (8/255
    for linf, 0.5 for l2), steps of a quarter of the radius. Raises InputError."""
    radius = epsilon or ("0.5" if norm == "l2" else "8/255")
    fields = {"kind": "pgd", "norm": norm, "steps": steps, "restarts": restarts}
    attack = valid(Attack, "attack", {**fields, "epsilon": radius, "alpha": alpha or radius})
    return attack if alpha else attack.model_copy(update={"alpha": attack.epsilon / 4})


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
