"""Attacks on images."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict

from search_spaces.base import LATER, Number, OwnOr, Sha256, Spec
from search_spaces.own import is_own

ATTACKS = ("fgsm", "n_fgsm", "pgd")
Kind = Annotated[str, OwnOr(ATTACKS, "attacks")]
Norm = Literal["linf", "l2"]
Radius = Annotated[Number, Field(gt=0)]
# Of the JSON schema: what `within_the_pixels` says.
WITHIN_THE_PIXELS: JsonDict = {
    "if": {"properties": {"norm": {"const": "l2"}}, "required": ["norm"]},
    "else": {"properties": {"epsilon": {"maximum": 1}, "alpha": {"maximum": 1}}},
}


def ball(norm: Norm, epsilon: float) -> str:
    """A ball in a few words: 'Linf 8/255', 'L2 0.5'."""
    whole = round(255 * epsilon)
    exact = whole and abs(255 * epsilon - whole) < 1e-6 and norm == "linf"
    return f"{norm.capitalize()} {f'{whole}/255' if exact else f'{epsilon:g}'}"


def within_the_pixels(value: float, info: ValidationInfo) -> float:
    """A length, validated after the norm that it is of."""
    if info.data.get("norm") == "linf" and value > 1:
        raise ValueError("must be less than or equal to 1 for norm linf: pixels are in [0, 1]")
    return value


class Attack(Spec):
    """An attack on images in [0, 1] within a ball around each: of the L-infinity or the L2 norm.

    fgsm:   one step of size alpha from a uniform start in the epsilon-ball (Wong et al. 2020)
    n_fgsm: one step of size alpha from a uniform start in [-2 epsilon, 2 epsilon], the result not
            projected back onto the ball (de Jorge et al. 2022)
    pgd:    `steps` steps of size alpha from a uniform start, projected (Madry et al. 2018); with
            restarts, an image counts as fooled if any restart fools it

    A step goes along the gradient's sign for L-infinity, along the gradient itself for L2. Or
    `package.module:attack`, a function of the user's own; see docs/regimes.md.
    """

    model_config = ConfigDict(json_schema_extra=WITHIN_THE_PIXELS)

    kind: Kind = Field(
        description="fgsm, n_fgsm (both one step) or pgd; or package.module:attack, your own"
    )
    sha256: Sha256 | None = Field(
        None,
        description="of the file that an attack of your own stands in; default: found out by the "
        "run",
    )
    norm: Norm = Field(
        "linf", json_schema_extra=LATER, description="of the ball: linf, or l2 over all pixels"
    )
    epsilon: Radius = Field(
        description="radius of the ball, in pixels of [0, 1] (at most 1 for linf); 8/255 may be "
        "written so"
    )
    alpha: Radius = Field(description="size of a step, in the same unit")
    steps: int = Field(1, ge=1, le=10_000, description="gradient steps; one for fgsm and n_fgsm")
    restarts: int = Field(
        1, ge=1, le=1000, description="random starts when images are evaluated; training uses one"
    )

    @property
    def title(self) -> str:
        """What tables call it: 'PGD-20 (Linf 8/255)'."""
        kind = self.own or self.kind.upper().replace("_", "-")
        steps = f"-{self.steps}" if self.steps > 1 else ""
        often = f" x {self.restarts}" if self.restarts > 1 else ""
        return f"{kind}{steps}{often} ({ball(self.norm, self.epsilon)})"

    @property
    def own(self) -> str | None:
        """The user's own code that it names, if it does."""
        return self.kind if is_own(self.kind) else None

    _lengths = field_validator("epsilon", "alpha")(within_the_pixels)

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.kind in ("fgsm", "n_fgsm") and self.steps != 1:
            raise ValueError(f"{self.kind} takes one step: leave steps out, or use kind: pgd")
        if self.kind == "n_fgsm" and self.norm != "linf":
            raise ValueError("n_fgsm is an attack of norm linf: use fgsm or pgd for l2")
        if self.sha256 and not self.own:
            raise ValueError(f"sha256 is for an attack of your own: leave it out of {self.kind}")
        return self
