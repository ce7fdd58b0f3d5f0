"""Further evaluations of a trained network, beside the one that every transfer has."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from search_spaces.base import LATER, Spec
from search_spaces.networks import Checkpoint, Model
from search_spaces.regimes import (
    WITHIN_THE_PIXELS,
    Attack,
    Norm,
    Protocol,
    Radius,
    Regime,
    ball,
    within_the_pixels,
)


class AutoAttackCheck(Spec):
    """AutoAttack (Croce and Hein 2020) on the first `images` test images (default: all)."""

    model_config = ConfigDict(json_schema_extra=WITHIN_THE_PIXELS)

    kind: Literal["autoattack"] = Field(description="AutoAttack, the standard ensemble")
    norm: Norm = Field(
        "linf", json_schema_extra=LATER, description="of the ball: linf, or l2 over all pixels"
    )
    epsilon: Radius = Field(description="radius of the ball, in pixels of [0, 1]")
    images: int | None = Field(
        None, ge=1, description="the first so many test images; default: all"
    )

    _length = field_validator("epsilon")(within_the_pixels)

    @property
    def name(self) -> str:
        """What scores call it."""
        return self.kind if self.norm == "linf" else f"{self.kind}_{self.norm}"

    @property
    def title(self) -> str:
        """What tables call it."""
        return f"AutoAttack ({ball(self.norm, self.epsilon)})"


class TransferAttackCheck(Spec):
    """Test images attacked on another network, which the transferred one has never seen: does it
    withstand them?

    The other network, the surrogate, is one for the same classes: with published weights (`load`),
    or trained by the study (`train`), once, on all training images of the task, from seed 0.
    """

    kind: Literal["transfer_attack"] = Field(description="images attacked on another network")
    attack: Attack = Field(description="on the other network")
    model: Model = Field(description="the other network")
    load: Checkpoint | None = Field(None, description="its published weights; either this or train")
    train: Regime | None = Field(
        None, description="how the study trains it on the task; either this or load"
    )
    images: int | None = Field(
        None, ge=1, description="the first so many test images; default: all"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.train is None) == (self.load is None):
            raise ValueError("a transfer_attack has either train: or load:")
        return self

    @property
    def name(self) -> str:
        """What scores call it."""
        return self.kind

    @property
    def title(self) -> str:
        """What tables call it."""
        return f"{self.attack.title} on {self.model.arch}"


class AttackCheck(Spec):
    """A second attack beside the evaluation's, as L2 PGD beside L-infinity."""

    kind: Literal["attack"] = Field(description="an attack beside the evaluation's")
    attack: Attack = Field(description="on the first `images` test images")
    protocol: Protocol = Field(
        "plain", description="plain: the attack's last iterate decides; worst_iterate: all of them"
    )
    images: int | None = Field(
        None, ge=1, description="the first so many test images; default: all"
    )

    @property
    def name(self) -> str:
        """What scores call it."""
        return f"{'own' if self.attack.own else self.attack.kind}_{self.attack.norm}"

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.attack.title


class CorruptionsCheck(Spec):
    """Accuracy on test images under the 15 corruptions of CIFAR-10-C (Hendrycks and Dietterich
    2019) at their 5 severities, by its own constants, which scale with the size of the images."""

    kind: Literal["corruptions"] = Field(description="the corruptions of CIFAR-10-C")
    images: int | None = Field(
        None, ge=1, description="the first so many test images; default: all"
    )

    @property
    def name(self) -> str:
        """What scores call it."""
        return self.kind

    @property
    def title(self) -> str:
        """What tables call it."""
        return "corruptions (mean of 15 x 5)"


Check = Annotated[
    AutoAttackCheck | TransferAttackCheck | AttackCheck | CorruptionsCheck,
    Field(discriminator="kind"),
]
