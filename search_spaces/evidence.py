"""Evidence: what is computed about finished tickets and transfers, as frozen models.

Each is stored under its own key, which holds the keys' content of what it is about. Images have
pixels in [0, 1]; shares, accuracies and confidences are in [0, 1].
"""

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from search_spaces.base import Pixels, Seed, Spec
from search_spaces.spec import AutoAttackCheck, Ticket, Transfer


class MaskEvidence(Spec):
    """The tickets of one pruning at one level, one a theta: how each mask is built, and how alike
    each two are."""

    kind: Literal["masks"] = "masks"
    tickets: tuple[Ticket, ...] = Field(min_length=1)


class RecordEvidence(Spec):
    """Transfers to the same test images, by their stored per-image records: accuracy class by
    class, and on how many images each two agree."""

    kind: Literal["records"] = "records"
    transfers: tuple[Transfer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _same_images(self) -> Self:
        if len({transfer.dataset for transfer in self.transfers}) > 1:
            raise ValueError("transfers to different data sets have no images in common")
        return self


class Retraining(Spec):
    """A transfer trained again from its spec, for its weights: transfers do not keep them.

    The path of training is kept by its projection on two principal directions, found from about
    `snapshots` states at even distances, the first and the last among them.
    """

    kind: Literal["retraining"] = "retraining"
    transfer: Transfer
    snapshots: int = Field(16, ge=2, le=1000)


class Landscape(Spec):
    """Loss on the first `images` test images, clean and attacked, over two planes through the
    trained weights (Li et al. 2018): two filter-normalised random directions, from -span to span,
    and the path's principal directions, as far as the path goes.

    Images are attacked anew at each point, by `reattack` steps of PGD: the loss that adversarial
    training sees (Wu et al. 2020). With 0 they are attacked once, at the trained weights, by the
    evaluation's attack: cheaper, but away from these weights their loss may even fall. Flatness is
    the mean rise of the loss over the random plane's points within `radius`, and the largest
    Hessian eigenvalue (on images attacked once).
    """

    kind: Literal["landscape"] = "landscape"
    network: Retraining
    points: int = Field(11, ge=3, le=201, description="of a plane, along each direction; odd")
    span: float = Field(1.0, gt=0)
    radius: float = Field(0.5, gt=0)
    images: int = Field(128, ge=1)
    seed: Seed = 0
    reattack: int = Field(2, ge=0, le=1000)

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

    kind: Literal["calibration"] = "calibration"
    network: Retraining
    bins: int = Field(15, ge=1, le=1000)


class AttackEvidence(Spec):
    """Signs of masked gradients (Athalye et al. 2018, Carlini et al. 2019): accuracy under PGD of
    more and more steps, under a huge epsilon, under attacks made on another network, and the share
    of images whose input gradient is zero.

    surrogate: the other network, trained again as well; None: no such attack.
    """

    kind: Literal["attacks"] = "attacks"
    network: Retraining
    surrogate: Retraining | None = None
    steps: tuple[Annotated[int, Field(ge=1)], ...] = (1, 5, 20)
    huge_epsilon: Pixels = 0.5
    images: int = Field(1000, ge=1, description="use at most the first so many test images")


class AutoAttackEvidence(Spec):
    """AutoAttack on a transfer that was trained again, with the library's own warnings."""

    kind: Literal["autoattack"] = "autoattack"
    network: Retraining
    check: AutoAttackCheck


Probe = Landscape | Calibration | AttackEvidence | AutoAttackEvidence
"""Evidence that needs a network's weights, so that its re-training comes first."""

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
