"""Evidence: what is computed about finished tickets and transfers, as frozen models.

Each is stored under its own key, which holds the keys' content of what it is about. Images have
pixels in [0, 1]; shares, accuracies and confidences are in [0, 1].
"""

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from search_spaces.base import LATER, Pixels, Seed, Spec
from search_spaces.checks import AutoAttackCheck
from search_spaces.spec import Ticket, Transfer


class MaskEvidence(Spec):
    """The tickets of one pruning at one level, one a theta: how each mask is built, and how alike
    each two are."""

    kind: Literal["masks"] = Field("masks", description="masks")
    tickets: tuple[Ticket, ...] = Field(
        min_length=1, description="of one pruning and level, one for each theta"
    )


class RecordEvidence(Spec):
    """Transfers to the same test images, by their stored per-image records: accuracy class by
    class, and on how many images each two agree."""

    kind: Literal["records"] = Field("records", description="records")
    transfers: tuple[Transfer, ...] = Field(min_length=1, description="to the same test images")

    @model_validator(mode="after")
    def _same_images(self) -> Self:
        if len({transfer.dataset for transfer in self.transfers}) > 1:
            raise ValueError("transfers to different data sets have no images in common")
        return self


class Retraining(Spec):
    """A transfer trained again from its spec: for the path that its training takes, or for its
    weights where the transfer has not kept them.

    The path of training is kept by its projection on two principal directions, found from about
    `snapshots` states at even distances, the first and the last among them.
    """

    kind: Literal["retraining"] = Field("retraining", description="retraining")
    transfer: Transfer = Field(description="what is trained again")
    snapshots: int = Field(
        16,
        ge=2,
        le=1000,
        description="states along the path of training, the first and the last among them",
    )


class Landscape(Spec):
    """Loss on the first `images` test images, clean and attacked, over two planes through the
    trained weights (Li et al. 2018): two filter-normalised random directions, from -span to span,
    and, with `path`, its principal directions, as far as the training's path goes.

    Images are attacked anew at each point, by `reattack` steps of PGD: the loss that adversarial
    training sees (Wu et al. 2020). With 0 they are attacked once, at the trained weights, by the
    evaluation's attack: cheaper, but away from these weights their loss may even fall. Flatness is
    the mean rise of the loss over the random plane's points within `radius`, and the largest
    Hessian eigenvalue (on images attacked once).
    """

    kind: Literal["landscape"] = Field("landscape", description="landscape")
    network: Retraining = Field(description="whose loss is drawn")
    points: int = Field(11, ge=3, le=201, description="of a plane, along each direction; odd")
    span: float = Field(
        1.0, gt=0, description="half the side of the plane, in norms of the filters"
    )
    radius: float = Field(
        0.5, gt=0, description="within which flatness is measured, in norms of the filters"
    )
    images: int = Field(128, ge=1, description="the first so many test images")
    seed: Seed = Field(0, description="of the random directions")
    reattack: int = Field(
        2, ge=0, le=1000, description="PGD steps at each point; 0: images are attacked once"
    )
    path: bool = Field(
        True,
        json_schema_extra=LATER,
        description="draw the plane of the training's path too, which takes a re-training",
    )

    @model_validator(mode="after")
    def _centre_is_a_point(self) -> Self:
        if self.points % 2 == 0:
            raise ValueError("points must be odd: the trained weights are the middle one")
        if self.radius > self.span:
            raise ValueError("radius must not exceed span: flatness is read off the plane")
        return self


class Calibration(Spec):
    """Confidence and correctness of each test image, clean and attacked, and the expected
    calibration error over `bins` equal bins (Guo et al. 2017)."""

    kind: Literal["calibration"] = Field("calibration", description="calibration")
    network: Retraining = Field(description="whose confidence is looked at")
    bins: int = Field(15, ge=1, le=1000, description="equal ones of confidence in [0, 1]")


class AttackEvidence(Spec):
    """Signs of masked gradients (Athalye et al. 2018, Carlini et al. 2019): accuracy under PGD of
    more and more steps, under a huge epsilon, under attacks made on another network, and the share
    of images whose input gradient is zero.
    """

    kind: Literal["attacks"] = Field("attacks", description="attacks")
    network: Retraining = Field(description="that is attacked")
    surrogate: Retraining | None = Field(
        None, description="the network that attacks are made on; default: no such attack"
    )
    steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 5, 20), description="of PGD, one attack for each number"
    )
    huge_epsilon: Pixels = Field(
        0.5, description="a radius at which nothing should withstand, in pixels of [0, 1]"
    )
    images: int = Field(1000, ge=1, description="use at most the first so many test images")


class AutoAttackEvidence(Spec):
    """AutoAttack on a trained transfer, with the library's own warnings."""

    kind: Literal["autoattack"] = Field("autoattack", description="autoattack")
    network: Retraining = Field(description="that is attacked")
    check: AutoAttackCheck = Field(description="how")


Probe = Landscape | Calibration | AttackEvidence | AutoAttackEvidence
"""Evidence that needs a network's weights: kept ones, or a re-training that comes first."""

Evidence = MaskEvidence | RecordEvidence | Retraining | Probe
KINDS = (
    MaskEvidence,
    RecordEvidence,
    Retraining,
    Landscape,
    Calibration,
    AttackEvidence,
    AutoAttackEvidence,
)

_ANY: TypeAdapter[Evidence] = TypeAdapter(Annotated[Evidence, Field(discriminator="kind")])


def from_json(text: str) -> Evidence:
    """Evidence of any kind from its JSON."""
    return _ANY.validate_json(text)
