"""How one training runs."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from search_spaces.base import LATER, Spec
from search_spaces.regimes.attacks import Attack
from search_spaces.regimes.containment import Containment
from search_spaces.regimes.objectives import Awp, CrossEntropy, Loss
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
    loss: Loss = Field(
        CrossEntropy(),
        json_schema_extra=LATER,
        description="what is minimised: cross_entropy, trades or mart",
    )
    awp: Awp | None = Field(
        None, description="adversarial weight perturbation; default: weights stay where they are"
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
        attacked = self.attack.steps if self.attack else 0
        pairs = self.loss.kind != "cross_entropy"
        return self.recipe.epochs * (attacked + (1 + pairs) * (1 + (self.awp is not None)))

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
        one_step = self.attack is not None and self.attack.kind in ("fgsm", "n_fgsm")
        if self.containment and not one_step:
            raise ValueError("containment is for one-step attacks (fgsm, n_fgsm): leave it out")
        return self

    @model_validator(mode="after")
    def _losses_of_pairs_need_an_attack(self) -> Self:
        kind = self.attack.kind if self.attack else "no attack"
        if self.loss.kind != "cross_entropy" and kind not in ("fgsm", "pgd"):
            raise ValueError(
                f"loss {self.loss.kind} compares an image with itself under attack: give it an "
                f"attack of kind pgd or fgsm, not {kind}"
            )
        return self
