"""The optimiser and what changes from step to step."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from search_spaces.base import LATER, Spec


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


class Ema(Spec):
    """The exponential moving average of the weights after each step; in step t (from 0) its decay
    is at most (1 + t) / (10 + t)."""

    kind: Literal["ema"] = Field(description="exponential moving average over steps")
    decay: float = Field(0.999, ge=0, lt=1, description="share of the average that a step leaves")


class Swa(Spec):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of
    the epochs from `start` on."""

    kind: Literal["swa"] = Field(description="mean over epochs")
    start: int = Field(ge=1, description="first epoch (from 1) whose end is averaged")


Averaging = Annotated[Ema | Swa, Field(discriminator="kind")]


class Recipe(Spec):
    """The optimiser, its schedule, and what of its steps is kept."""

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
    optimizer: Literal["sgd", "adamw"] = Field(
        "sgd", json_schema_extra=LATER, description="sgd, or adamw (Loshchilov and Hutter 2019)"
    )
    lr: float = Field(gt=0, description="highest learning rate")
    momentum: float = Field(
        0.9, ge=0, lt=1, description="of sgd; of adamw the first beta, the second being 0.999"
    )
    weight_decay: float = Field(
        5e-4, ge=0, description="on all weights: of sgd as L2, of adamw decoupled"
    )
    clip: float | None = Field(
        None, gt=0, description="longest gradient, by its L2 norm; default: as it comes"
    )
    warmup: int = Field(
        0,
        ge=0,
        json_schema_extra=LATER,
        description="epochs in which the learning rate rises linearly to what the schedule says",
    )
    averaging: Averaging | None = Field(
        None,
        description="average of the weights that is validated and counts, its BatchNorm statistics "
        "taken anew from the training images; default: the weights themselves",
    )
    schedule: Schedule = Field(
        Constant(), description="how the learning rate changes from step to step"
    )
    validate_from: int = Field(
        1, ge=1, description="first epoch (from 1) whose end is validated; the last always is"
    )

    @model_validator(mode="after")
    def _starts_before_its_end(self) -> Self:
        if isinstance(self.averaging, Swa) and self.averaging.start > self.epochs:
            raise ValueError(
                f"averaging.start: {self.averaging.start} is beyond the last epoch, {self.epochs}"
            )
        if self.warmup and self.warmup >= self.epochs:
            raise ValueError(f"warmup takes {self.warmup} of {self.epochs} epochs: make it shorter")
        return self

    def batches(self, images: int, ranks: int = 1) -> list[int]:
        """The sizes of an epoch's batches: batch_size, and the rest in the last. A rest of one
        image (of fewer than two for each rank), which BatchNorm cannot normalise on a 1x1 map, is
        joined to the batch before."""
        whole, rest = divmod(images, self.batch_size)
        if whole and rest < 2 * ranks:
            return [self.batch_size] * (whole - 1) + [self.batch_size + rest]
        return [self.batch_size] * whole + [rest] * bool(rest)
