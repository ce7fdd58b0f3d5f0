"""The optimiser and what changes from step to step."""

from typing import Annotated, Literal

from pydantic import Field

from search_spaces.base import Spec


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
