"""What is done about catastrophic overfitting."""

from typing import Literal

from pydantic import Field

from search_spaces.base import Spec


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
