"""How a network is judged."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from search_spaces.base import UNHASHED, Spec
from search_spaces.regimes.attacks import Attack

Protocol = Literal["plain", "worst_iterate"]


def _validation_is_optional(schema: JsonDict) -> None:
    """Of a JSON schema: it is filled in before pydantic asks for it."""
    schema["required"] = ["attack"]


class AutoAttackConfirmation(Spec):
    """AutoAttack in the ball of the evaluation's attack, after a run: on the dense networks and the
    levels that the verdict names, after adversarial training, from the weights that are kept."""

    kind: Literal["autoattack"] = Field(description="AutoAttack, the standard ensemble")
    images: int | None = Field(
        None, ge=1, description="the first so many test images; default: all"
    )


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Confirmation = Annotated[
    AutoAttackConfirmation,
    BeforeValidator(_by_name, json_schema_input_type=AutoAttackConfirmation | str),
]


class Evaluation(Spec):
    """The attack that judges test images, and the cheaper one that chooses the best epoch.

    The protocol is of test images. plain: an image counts as fooled if the attack's last iterate
    fools it (the papers' protocol); worst_iterate: if any iterate does. Robust accuracy is never
    above plain's, and images leave the batch as soon as they are fooled, which saves work.
    Validation is always plain.
    """

    model_config = ConfigDict(json_schema_extra=_validation_is_optional)

    attack: Attack = Field(description="on test images")
    validation: Attack = Field(
        description="on validation images, which choose the best epoch; default: attack"
    )
    protocol: Protocol = Field(
        "plain", description="plain: the attack's last iterate decides; worst_iterate: all of them"
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="images evaluated at once; the attack's random starts are drawn batch by "
        "batch. Default: 256",
    )
    confirm: Confirmation | None = Field(
        None,
        json_schema_extra=UNHASHED,
        description="a stronger attack that confirms a verdict: autoattack, or its fields; needs "
        "kept weights",
    )

    @property
    def of_each(self) -> "Evaluation":
        """How every result is judged: without what confirms a verdict."""
        return self.model_copy(update={"confirm": None}) if self.confirm else self

    @model_validator(mode="before")
    @classmethod
    def _validation_defaults_to_attack(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("validation") is None and "attack" in data:
            return {**data, "validation": data["attack"]}
        return data
