"""How one training runs."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from search_spaces.base import Spec
from search_spaces.regimes.attacks import Attack
from search_spaces.regimes.containment import Containment
from search_spaces.regimes.recipes import Recipe

RegimeName = Literal["standard", "fast_adversarial", "adversarial"]


class Regime(Spec):
    """How one training runs. No attack means standard training."""

    recipe: Recipe = Field(description="the optimiser and its schedule")
    attack: Attack | None = Field(
        None,
        description="what training images are attacked by; default: none, which is standard "
        "training",
    )
    attack_mode: Literal["train", "eval"] = Field(
        "train", description="BatchNorm mode while training images are attacked"
    )
    containment: Containment | None = Field(
        None,
        description="how catastrophic overfitting is detected and answered; default: as "
        "Containment says for one-step attacks, none for others",
    )

    @property
    def passes(self) -> int:
        """Forward-backward passes over the training images: what a training costs, in its unit."""
        return self.recipe.epochs * (1 + (self.attack.steps if self.attack else 0))

    @model_validator(mode="before")
    @classmethod
    def _contain_one_step_attacks(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("containment") is None:
            attack = data.get("attack")
            kind = attack.get("kind") if isinstance(attack, dict) else getattr(attack, "kind", None)
            if kind in ("fgsm", "n_fgsm"):
                return {**data, "containment": {}}
        return data

    @model_validator(mode="after")
    def _containment_needs_one_step(self) -> Self:
        if self.containment and (self.attack is None or self.attack.kind == "pgd"):
            raise ValueError("containment is for one-step attacks (fgsm, n_fgsm): leave it out")
        return self
