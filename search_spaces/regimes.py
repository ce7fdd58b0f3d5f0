"""How one training runs and is judged: attacks, recipes, containment, regimes, evaluation.

Images have pixels in [0, 1]; epsilons and step sizes are in those units and may be written as
fractions ("8/255").
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from search_spaces.base import Pixels, Spec

RegimeName = Literal["standard", "fast_adversarial", "adversarial"]


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


class Constant(Spec):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = Field("constant", description="the learning rate stays as it is")


class MultiStep(Spec):
    """The learning rate is multiplied by gamma at the start of each epoch in milestones."""

    kind: Literal["multistep"] = Field(description="the learning rate falls in steps")
    milestones: tuple[int, ...] = Field(
        description="epochs (from 0) at whose start the learning rate falls"
    )
    gamma: float = Field(
        0.1, gt=0, lt=1, description="factor of the learning rate at each milestone"
    )


class Cosine(Spec):
    """The learning rate falls to zero along half a cosine over all steps."""

    kind: Literal["cosine"] = Field(
        description="the learning rate falls to zero along half a cosine"
    )


class OneCycle(Spec):
    """The learning rate rises linearly from zero for a share of all steps, then falls to zero."""

    kind: Literal["one_cycle"] = Field(
        description="the learning rate rises linearly from zero, then falls to zero"
    )
    warmup: float = Field(0.3, gt=0, lt=1, description="share of all steps in which it rises")


Schedule = Annotated[Constant | MultiStep | Cosine | OneCycle, Field(discriminator="kind")]


class Recipe(Spec):
    """SGD with momentum and a schedule."""

    epochs: int = Field(ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(
        128,
        ge=2,
        description="images of an optimiser step; an epoch's last, incomplete batch is left out",
    )
    micro_batch: int | None = Field(
        None,
        ge=2,
        description="images in one forward and backward pass, where a batch does not fit into "
        "memory; their gradients add up to the batch's, but BatchNorm normalises each micro-batch "
        "by itself. Default: the whole batch",
    )
    lr: float = Field(gt=0, description="highest learning rate of SGD")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: float = Field(5e-4, ge=0, description="of SGD, on all weights (L2)")
    schedule: Schedule = Field(
        Constant(), description="how the learning rate changes from step to step"
    )
    validate_from: int = Field(
        1, ge=1, description="first epoch (from 1) whose end is validated; the last always is"
    )

    def batches(self, images: int, ranks: int = 1) -> list[int]:
        """The sizes of an epoch's batches: batch_size, and the rest in the last. A rest of one
        image (of fewer than two for each rank), which BatchNorm cannot normalise on a 1x1 map, is
        joined to the batch before."""
        whole, rest = divmod(images, self.batch_size)
        if whole and rest < 2 * ranks:
            return [self.batch_size] * (whole - 1) + [self.batch_size + rest]
        return [self.batch_size] * whole + [rest] * bool(rest)


class Containment(Spec):
    """When a training with a one-step attack counts as collapsed, and what happens then.

    Catastrophic overfitting shows on a fixed held-out probe, after each epoch: PGD accuracy has
    fallen from its best by more than the share `fall` of it, while FGSM accuracy stands above it by
    more than the share `gap` of that best, or the cosine of the input gradients at an image and at
    a random neighbour is below `bend` times its best. Falls and gaps of less than three standard
    errors of the best accuracy on the probe do not count. `patience` such epochs in a row are a
    collapse. Then the training stops; or goes on; or returns to its best state and goes on with
    half the attack's alpha. What counts in the end is the best state by validation accuracy under
    attack; so every epoch is validated.
    """

    on_collapse: Literal["stop", "continue", "lower_alpha"] = Field(
        "stop",
        description="stop; continue; or lower_alpha: back to its best state, with half the alpha",
    )
    probe_images: int = Field(256, ge=16, description="validation images that are watched")
    probe_steps: int = Field(10, ge=2, description="steps of the PGD that watches")
    fall: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="a sign is a fall of PGD accuracy from its best by more than this share of it",
    )
    gap: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="... while FGSM accuracy is above it by more than this share of that best",
    )
    bend: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="... or the cosine of input gradients is below this share of its best",
    )
    patience: int = Field(2, ge=1, description="epochs in a row with the signs that are a collapse")


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


Protocol = Literal["plain", "worst_iterate"]


def _validation_is_optional(schema: JsonDict) -> None:
    """Of a JSON schema: it is filled in before pydantic asks for it."""
    schema["required"] = ["attack"]


class Evaluation(Spec):
    """The attack that judges test images, and the cheaper one that chooses the best epoch.

    plain: an image counts as fooled if the attack's last iterate fools it (the papers' protocol);
    worst_iterate: if any iterate does. Robust accuracy is never above plain's, and images leave the
    batch as soon as they are fooled, which saves work.
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

    @model_validator(mode="before")
    @classmethod
    def _validation_defaults_to_attack(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("validation") is None and "attack" in data:
            return {**data, "validation": data["attack"]}
        return data
