"""What is trained: data, networks, thetas, tickets and transfers, as frozen models.

Everything that affects a result, nothing that does not. Scores are accuracies in [0, 1]; levels are
pruning rounds (0 = dense).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from search_spaces.base import UNHASHED, Name, OwnOr, Seed, Sha256, Spec
from search_spaces.checks import Check
from search_spaces.networks import Checkpoint, Model
from search_spaces.own import is_own
from search_spaces.prunings import Pruning
from search_spaces.regimes import Evaluation, Regime

DATASETS = (
    "mnist-mini",
    "digits",
    "digits-few",
    "cifar10",
    "cifar100",
    "svhn",
    "gtsrb",
    "imagenet",
    "cub200",
    "visda17",
    "npz",
    "folder",
    "voc",
    "masks",
)
DatasetName = Annotated[str, OwnOr(DATASETS, "datasets")]


Kind = Literal["labels", "instances"]
"""What images are of: one class each, or objects, each with a class and a mask."""

View = Literal["resize", "crop", "wide_crop"]


class Augmentation(Spec):
    """Random changes to training images, drawn anew every time an image is seen."""

    crop: int = Field(0, ge=0, le=32, description="zero-pad by this many pixels, crop at random")
    flip: bool = Field(False, description="mirror left-right with probability 1/2")


class Dataset(Spec):
    """Images and labels by name, brought to `size` x `size` pixels.

    view resize: the whole image, scaled. view crop, as for ImageNet: a random resized crop (area 8
    to 100 %, aspect 3/4 to 4/3) in training, the central 7/8 otherwise. view wide_crop, as Chen et
    al. see VisDA-17: a random resized crop of 75 to 133 % of the area in training, drawn anew
    while it does not fit, the whole image otherwise.

    `voc` (Pascal VOC's folder, with SegmentationObject) and `masks` (images/FILE with label maps in
    masks/NAME.png; 0 is background, every other number one object) are for instance segmentation;
    `path` may be a zip file.

    `npz` (arrays train_x, train_y, test_x, test_y; images (N, H, W, C) uint8) and `folder` (images
    in SPLIT/CLASS/FILE, splits train and val, optionally test) are files of the user's own: `path`
    says where, `sha256` what. `package.module:function` returns such arrays by name, and `sha256`
    is theirs. The others are looked up by name in the data folder, or embedded.
    """

    name: DatasetName = Field(
        description="mnist-mini, digits and digits-few come with the program; npz and folder are "
        "files of your own, package.module:function is a function of your own; the others lie in "
        "the data folder"
    )
    size: int = Field(
        ge=8, le=512, description="height and width that images are brought to, in pixels"
    )
    augment: Augmentation = Field(Augmentation(), description="random changes to training images")
    view: View = Field(
        "resize",
        description="resize: the whole image, scaled; crop: a random part of it in training, its "
        "centre otherwise; wide_crop: most of it in training, the whole otherwise",
    )
    limit: int | None = Field(None, ge=16, description="use only this many images of each split")
    label: Name | None = Field(None, description="what tables call it; default: its name")
    path: str | None = Field(
        None,
        json_schema_extra=UNHASHED,
        description="where the files are, from the data folder; not part of the key",
    )
    sha256: Sha256 | None = Field(
        None,
        description="of your own file, of a folder's file names and sizes, or of the arrays that "
        "your function returns; default: found out by the run",
    )

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.label or self.name.rpartition(":")[2]

    @property
    def kind(self) -> Kind:
        """What it is of, which decides the task: classification, or instance segmentation."""
        return "instances" if self.name in ("voc", "masks") else "labels"

    @model_validator(mode="after")
    def _own_files_have_a_path(self) -> Self:
        if self.name in ("npz", "folder", "voc", "masks") and self.path is None:
            raise ValueError(f"dataset {self.name} needs path: where its files are")
        if self.name in ("mnist-mini", "digits", "digits-few") and self.path is not None:
            raise ValueError(f"dataset {self.name} comes with the program: leave path: out")
        if is_own(self.name) and self.path is not None:
            raise ValueError(f"dataset {self.name} finds its files itself: leave path: out")
        return self


class Pretraining(Spec):
    """Where a theta comes from: trained on the source, or loaded."""

    train: Regime | None = Field(
        None, description="how theta is trained on the source; either this or load"
    )
    load: Checkpoint | None = Field(None, description="published weights; either this or train")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.train is None) == (self.load is None):
            raise ValueError("a pretraining has either train: or load:")
        return self


class Theta(Spec):
    """One pre-trained network: source data, architecture, pre-training, seed."""

    dataset: Dataset = Field(description="the source task")
    model: Model = Field(description="the network")
    pretraining: Pretraining = Field(description="how its weights come about")
    evaluation: Evaluation = Field(description="how it is evaluated")
    seed: Seed = Field(0, description="of its initialisation and training")


class Ticket(Spec):
    """A mask, and the weights that are under it: theta's, unless its pruning rewinds to others.
    Level 0 is the dense network and has no pruning."""

    theta: Theta = Field(description="what is pruned")
    pruning: Pruning | None = Field(
        None, description="how its mask is found; default: none, for level 0"
    )
    level: int = Field(ge=0, description="pruning rounds; 0 is the dense network")

    @property
    def start(self) -> "Theta | Ticket":
        """Whose result holds the weights that it starts from: theta, or itself where its pruning
        does not rewind to theta."""
        rewinds = self.pruning is None or self.pruning.rewind == "theta"
        return self.theta if rewinds else self

    @model_validator(mode="after")
    def _dense_has_no_pruning(self) -> Self:
        if (self.level == 0) != (self.pruning is None):
            raise ValueError("level 0 has no pruning, every other level has one")
        return self


class Transfer(Spec):
    """One downstream training: ticket, data, regime, seed -> scores, and further checks if any."""

    ticket: Ticket = Field(description="what the training starts from")
    dataset: Dataset = Field(description="the downstream task")
    fraction: float = Field(1.0, gt=0, le=1, description="share of its training images, in (0, 1]")
    subset: Literal["balanced", "first_n"] = Field(
        "balanced",
        description="which: balanced over classes and drawn by the seed, or the first ones",
    )
    regime: Regime = Field(description="how it is trained")
    evaluation: Evaluation = Field(description="how it is evaluated")
    seed: Seed = Field(description="of its head, its images and its training")
    checks: tuple[Check, ...] | None = Field(
        None, min_length=1, description="further evaluations of the trained network"
    )

    def surrogate(self, check: Check) -> Theta | None:
        """The network that the study trains for one of the checks; None where it trains none."""
        if check.kind != "transfer_attack" or check.train is None:
            return None
        return Theta(
            dataset=self.dataset,
            model=check.model,
            pretraining=Pretraining(train=check.train),
            evaluation=self.evaluation,
        )

    @property
    def surrogates(self) -> tuple[Theta, ...]:
        """The networks that the study trains for the checks."""
        return tuple(filter(None, map(self.surrogate, self.checks or ())))


class Scores(Spec):
    """Accuracies in [0, 1] on clean images (sa) and under attack (ra; None where not measured)."""

    sa: float = Field(ge=0, le=1, description="accuracy on clean images, in [0, 1]")
    ra: float | None = Field(
        None, ge=0, le=1, description="accuracy under attack, in [0, 1]; none where not measured"
    )
