"""Attacks on images."""

from typing import Literal, Self

from pydantic import Field, model_validator

from search_spaces.base import Pixels, Spec


class Attack(Spec):
    """An L-infinity attack on images in [0, 1].

    fgsm:   one step of size alpha from a uniform start in the epsilon-ball (Wong et al. 2020)
    n_fgsm: one step of size alpha from a uniform start in [-2 epsilon, 2 epsilon], the result not
            projected back onto the ball (de Jorge et al. 2022)
    pgd:    `steps` steps of size alpha from a uniform start, projected (Madry et al. 2018); with
            restarts, an image counts as fooled if any restart fools it
    """

    kind: Literal["fgsm", "n_fgsm", "pgd"] = Field(
        description="fgsm, n_fgsm (both one step) or pgd"
    )
    epsilon: Pixels = Field(
        description="radius of the L-infinity ball, in pixels of [0, 1]; 8/255 may be written so"
    )
    alpha: Pixels = Field(description="size of a step, in pixels of [0, 1]")
    steps: int = Field(1, ge=1, le=10_000, description="gradient steps; one for fgsm and n_fgsm")
    restarts: int = Field(
        1, ge=1, le=1000, description="random starts when images are evaluated; training uses one"
    )

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.kind != "pgd" and self.steps != 1:
            raise ValueError(f"{self.kind} takes one step: leave steps out, or use kind: pgd")
        return self
