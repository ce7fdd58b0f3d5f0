"""The words of a study as frozen models. Everything that affects results, nothing that does not.

Images have pixels in [0, 1]; epsilons and step sizes are in those units and may be written as
fractions ("8/255"). Scores are accuracies in [0, 1]. Levels are pruning rounds (0 = dense).
"""

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

RegimeName = Literal["standard", "fast_adversarial", "adversarial"]
DatasetName = Literal[
    "mnist-mini",
    "digits",
    "cifar10",
    "cifar100",
    "svhn",
    "imagenet",
    "cub200",
    "visda17",
    "npz",
    "folder",
]
Arch = Literal[
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
]


def _from_fraction(value: Any) -> Any:
    """Reads '8/255' or '0.5/255' as a number; anything else is left to pydantic."""
    if isinstance(value, str) and value.count("/") == 1:
        above, below = value.split("/")
        try:
            return float(above) / float(below)
        except (ValueError, ArithmeticError):
            return value
    return value


Pixels = Annotated[float, BeforeValidator(_from_fraction), Field(gt=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]


UNHASHED: JsonDict = {"hashed": False}
"""Marks a field that says where something is, not what it is: it does not enter keys."""


class Spec(BaseModel):
    """A frozen value object: unknown fields are refused, equal content means equal specs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Augmentation(Spec):
    """Random changes to training images, drawn anew every time an image is seen."""

    crop: int = Field(0, ge=0, le=32, description="zero-pad by this many pixels, crop at random")
    flip: bool = Field(False, description="mirror left-right with probability 1/2")


class Dataset(Spec):
    """Images and labels by name, brought to `size` x `size` pixels.

    view resize: the whole image, scaled. view crop, as for ImageNet: a random resized crop (area 8
    to 100 %, aspect 3/4 to 4/3) in training, the central 7/8 otherwise.

    `npz` (arrays train_x, train_y, test_x, test_y; images (N, H, W, C) uint8) and `folder` (images
    in SPLIT/CLASS/FILE, splits train and val, optionally test) are files of the user's own: `path`
    says where, `sha256` what. The others are looked up by name in the data folder, or embedded.
    """

    name: DatasetName
    size: int = Field(ge=8, le=512)
    augment: Augmentation = Augmentation()
    view: Literal["resize", "crop"] = "resize"
    limit: int | None = Field(None, ge=16, description="use only this many images of each split")
    label: Name | None = Field(None, description="what tables call it; default: its name")
    path: str | None = Field(None, json_schema_extra=UNHASHED)
    sha256: Sha256 | None = None

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.label or self.name

    @model_validator(mode="after")
    def _own_files_have_a_path(self) -> Self:
        if self.name in ("npz", "folder") and self.path is None:
            raise ValueError(f"dataset {self.name} needs path: where its files are")
        return self


Channels = Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)]


class Normalisation(Spec):
    """Pixels in [0, 1] become (pixels - mean) / std, a number for each colour channel."""

    mean: Channels
    std: Channels


class Model(Spec):
    """A network body; its head and its normalisation come with the dataset it is built for.

    `normalisation` replaces the source dataset's, for weights that were trained with another;
    transfers always use their own dataset's.
    """

    arch: Arch
    width: int | None = Field(None, ge=1, le=1024, description="channels of the first stage")
    stem: Literal["imagenet", "cifar", "half"] | None = Field(
        None,
        description="7x7/2 and max-pool; 3x3/1; 3x3/2. Default: the architecture's own",
    )
    normalisation: Normalisation | None = None


class Attack(Spec):
    """An L-infinity attack on images in [0, 1].

    fgsm:   one step of size alpha from a uniform start in the epsilon-ball (Wong et al. 2020)
    n_fgsm: one step of size alpha from a uniform start in [-2 epsilon, 2 epsilon], the result not
            projected back onto the ball (de Jorge et al. 2022)
    pgd:    `steps` steps of size alpha from a uniform start, projected (Madry et al. 2018); with
            restarts, an image counts as fooled if any restart fools it
    """

    kind: Literal["fgsm", "n_fgsm", "pgd"]
    epsilon: Pixels
    alpha: Pixels
    steps: int = Field(1, ge=1, le=10_000)
    restarts: int = Field(1, ge=1, le=1000)

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.kind != "pgd" and self.steps != 1:
            raise ValueError(f"{self.kind} takes one step: leave steps out, or use kind: pgd")
        return self


class Constant(Spec):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = "constant"


class MultiStep(Spec):
    """The learning rate is multiplied by gamma at the start of each epoch in milestones."""

    kind: Literal["multistep"]
    milestones: tuple[int, ...]
    gamma: float = Field(0.1, gt=0, lt=1)


class Cosine(Spec):
    """The learning rate falls to zero along half a cosine over all steps."""

    kind: Literal["cosine"]


class OneCycle(Spec):
    """The learning rate rises linearly from zero for a share of all steps, then falls to zero."""

    kind: Literal["one_cycle"]
    warmup: float = Field(0.3, gt=0, lt=1)


Schedule = Annotated[Constant | MultiStep | Cosine | OneCycle, Field(discriminator="kind")]


class Recipe(Spec):
    """SGD with momentum and a schedule."""

    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(128, ge=2)
    lr: float = Field(gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Schedule = Constant()
    validate_from: int = Field(
        1, ge=1, description="first epoch (from 1) whose end is validated; the last always is"
    )


class Containment(Spec):
    """When a training with a one-step attack counts as collapsed, and what happens then.

    Catastrophic overfitting shows on a fixed held-out probe, after each epoch: PGD accuracy has
    fallen by more than `fall` from its best, while FGSM accuracy stands more than `gap` above it or
    the cosine of the input gradients at an image and at a random neighbour is below `bend` times
    its best. `patience` such epochs in a row are a collapse. Then the training stops; or goes on;
    or returns to its best state and goes on with half the attack's alpha. What counts in the end
    is the best state by validation accuracy under attack; so every epoch is validated.
    """

    on_collapse: Literal["stop", "continue", "lower_alpha"] = "stop"
    probe_images: int = Field(256, ge=16)
    probe_steps: int = Field(10, ge=2)
    fall: float = Field(0.2, gt=0, lt=1)
    gap: float = Field(0.2, gt=0, lt=1)
    bend: float = Field(0.5, gt=0, lt=1)
    patience: int = Field(2, ge=1)


class Regime(Spec):
    """How one training runs. No attack means standard training."""

    recipe: Recipe
    attack: Attack | None = None
    attack_mode: Literal["train", "eval"] = Field(
        "train", description="BatchNorm mode while training images are attacked"
    )
    containment: Containment | None = None

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


class Evaluation(Spec):
    """The attack that judges test images, and the cheaper one that chooses the best epoch.

    plain: an image counts as fooled if the attack's last iterate fools it (the papers' protocol);
    worst_iterate: if any iterate does. Robust accuracy is never above plain's, and images leave the
    batch as soon as they are fooled, which makes it several times faster.
    """

    attack: Attack
    validation: Attack
    protocol: Literal["plain", "worst_iterate"] = "plain"

    @model_validator(mode="before")
    @classmethod
    def _validation_defaults_to_attack(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("validation") is None and "attack" in data:
            return {**data, "validation": data["attack"]}
        return data


class Checkpoint(Spec):
    """Published weights. `path` says where the file is, `sha256` what it is (found out and filled
    in by the run where the study leaves it out).

    torchvision:      `weights` names them, as IMAGENET1K_V1; fetched once, then read from the cache
    robustness:       MadryLab's: a dict with `model`, its keys behind module.model. or
                      module.attacker.model., normaliser entries beside them
    fast_adversarial: locuslab's: a dict with `state_dict`, its keys behind module.
    state_dict:       parameters by name, or such a dict under `state_dict`, with or without module.
    """

    format: Literal["torchvision", "robustness", "fast_adversarial", "state_dict"]
    weights: Name | None = None
    path: str | None = Field(None, json_schema_extra=UNHASHED)
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _name_or_path(self) -> Self:
        by_name = self.format == "torchvision"
        if by_name != (self.weights is not None) or by_name == (self.path is not None):
            raise ValueError(
                "format torchvision takes weights: NAME, every other format path: FILE"
            )
        return self


class Pretraining(Spec):
    """Where a theta comes from: trained on the source, or loaded."""

    train: Regime | None = None
    load: Checkpoint | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.train is None) == (self.load is None):
            raise ValueError("a pretraining has either train: or load:")
        return self


class Theta(Spec):
    """One pre-trained network: source data, architecture, pre-training, seed."""

    dataset: Dataset
    model: Model
    pretraining: Pretraining
    evaluation: Evaluation
    seed: int = Field(0, ge=0)


class Pruning(Spec):
    """How masks are found; see Ticket for what a mask is combined with.

    imp:      iterative magnitude pruning: each round prunes `rate` of the remaining convolution
              weights globally by magnitude, rewinds the rest to theta, and re-trains on the source
    one_shot: theta's own smallest weights, at once
    random:   uniformly drawn weights
    """

    method: Literal["imp", "one_shot", "random"]
    rate: float = Field(0.2, gt=0, lt=1)
    retraining: Regime | None = None
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _retraining_is_for_imp(self) -> Self:
        if (self.method == "imp") != (self.retraining is not None):
            raise ValueError("retraining is needed for method imp, and only there")
        return self


class PruningPlan(Pruning):
    """A pruning and the levels to make: `rounds` for imp, a list of `levels` for the others.

    `pretrainings` names the thetas that it starts from; default: all of them.
    """

    rounds: int | None = Field(None, ge=1, le=60)
    levels: tuple[Annotated[int, Field(ge=1, le=60)], ...] | None = Field(None, min_length=1)
    pretrainings: tuple[Name, ...] | None = None

    def starts_from(self, pretraining: str) -> bool:
        """Are tickets made from this theta?"""
        return self.pretrainings is None or pretraining in self.pretrainings

    @model_validator(mode="after")
    def _rounds_or_levels(self) -> Self:
        if self.method == "imp" and (self.rounds is None or self.levels is not None):
            raise ValueError("method imp takes rounds: N (it passes through every level up to N)")
        if self.method != "imp" and (self.levels is None or self.rounds is not None):
            raise ValueError(f"method {self.method} takes levels: [K, ...], not rounds")
        return self

    @property
    def pruning(self) -> Pruning:
        """What enters a ticket's key: how many levels are made does not."""
        return Pruning(**{name: getattr(self, name) for name in Pruning.model_fields})

    @property
    def made_levels(self) -> tuple[int, ...]:
        """The levels that this plan makes, ascending."""
        if self.rounds is not None:
            return tuple(range(1, self.rounds + 1))
        return tuple(sorted(set(self.levels or ())))


class Ticket(Spec):
    """A mask and the theta it rewinds to. Level 0 is the dense network and has no pruning."""

    theta: Theta
    pruning: Pruning | None
    level: int = Field(ge=0)

    @model_validator(mode="after")
    def _dense_has_no_pruning(self) -> Self:
        if (self.level == 0) != (self.pruning is None):
            raise ValueError("level 0 has no pruning, every other level has one")
        return self


class AutoAttackCheck(Spec):
    """AutoAttack (Croce and Hein 2020) on the first `images` test images (default: all)."""

    kind: Literal["autoattack"]
    epsilon: Pixels
    images: int | None = Field(None, ge=1)


class TransferAttackCheck(Spec):
    """Test images attacked on another, unseen model: does the transferred network withstand them?

    The surrogate is a network for the same classes, with published weights.
    """

    kind: Literal["transfer_attack"]
    attack: Attack
    model: Model
    load: Checkpoint
    images: int | None = Field(None, ge=1)


Check = Annotated[AutoAttackCheck | TransferAttackCheck, Field(discriminator="kind")]


class Transfer(Spec):
    """One downstream training: ticket, data, regime, seed -> scores, and further checks if any."""

    ticket: Ticket
    dataset: Dataset
    fraction: float = Field(1.0, gt=0, le=1)
    subset: Literal["balanced", "first_n"] = "balanced"
    regime: Regime
    evaluation: Evaluation
    seed: int = Field(ge=0)
    checks: tuple[Check, ...] | None = Field(None, min_length=1)


class Scores(Spec):
    """Accuracies in [0, 1] on clean images (sa) and under attack (ra; None where not measured)."""

    sa: float = Field(ge=0, le=1)
    ra: float | None = Field(None, ge=0, le=1)


class Only(Spec):
    """Restricts a regime to part of its downstream's cells; what is not named is not restricted."""

    pretrainings: tuple[Name, ...] | None = None
    pruning: tuple[Name, ...] | None = None
    levels: tuple[int, ...] | None = None


class ChosenCheck(Spec):
    """A further check, and the transfers it is made on."""

    check: Check
    regimes: tuple[RegimeName, ...] = ("adversarial",)
    only: Only = Only()


class DownstreamRegime(Regime):
    """A regime and the cells of its downstream that it covers (all, unless `only` says less)."""

    only: Only = Only()

    @property
    def regime(self) -> Regime:
        """What enters a transfer's key: which other cells are covered does not."""
        return Regime(**{name: getattr(self, name) for name in Regime.model_fields})


class Source(Spec):
    """The task that tickets are found on."""

    dataset: Dataset
    model: Model
    pretrainings: dict[Name, Pretraining] = Field(min_length=1)
    evaluation: Evaluation | None = Field(None, description="default: the study's")
    seed: int = Field(0, ge=0)


class Downstream(Spec):
    """A task that tickets are transferred to."""

    dataset: Dataset
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (1.0,)
    subset: Literal["balanced", "first_n"] = "balanced"
    levels: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    regimes: dict[RegimeName, DownstreamRegime] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    evaluation: Evaluation | None = Field(None, description="default: the study's")
    checks: tuple[ChosenCheck, ...] = ()

    @model_validator(mode="after")
    def _names_mean_what_they_say(self) -> Self:
        for name, regime in self.regimes.items():
            kind = regime.attack.kind if regime.attack else None
            allowed = {
                "standard": (None,),
                "fast_adversarial": ("fgsm", "n_fgsm"),
                "adversarial": ("pgd",),
            }[name]
            if kind not in allowed:
                wanted = " or ".join(k or "no attack" for k in allowed)
                raise ValueError(f"regime {name} takes {wanted}, not {kind or 'no attack'}")
        for field in ("levels", "seeds", "fractions"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field} has a value twice: {list(values)}")
        return self


class Study(Spec):
    """One YAML file: source task, pre-trainings, pruning, downstream transfers, seeds."""

    name: Name
    source: Source
    pruning: dict[Name, PruningPlan] = {}
    downstream: tuple[Downstream, ...] = Field(min_length=1)
    evaluation: Evaluation

    @model_validator(mode="after")
    def _names_and_levels_fit(self) -> Self:
        if "dense" in self.pruning:
            raise ValueError("pruning.dense: the name dense is kept for level 0")
        for name, plan in self.pruning.items():
            _check_known(
                f"pruning.{name}.pretrainings", plan.pretrainings, self.source.pretrainings
            )
        tasks = [(task.dataset.title, f) for task in self.downstream for f in task.fractions]
        if len(set(tasks)) != len(tasks):
            names = [task.dataset.title for task in self.downstream]
            raise ValueError(
                f"downstream: a dataset and fraction occur twice in {names}: give one a label"
            )
        made = {level for plan in self.pruning.values() for level in plan.made_levels} | {0}
        for place, task in enumerate(self.downstream):
            self._check_task(f"downstream.{place}", task, made)
        return self

    def _check_task(self, place: str, task: Downstream, made: set[int]) -> None:
        for level in task.levels:
            if level not in made:
                raise ValueError(
                    f"{place}.levels: level {level} is beyond what pruning makes "
                    f"(up to {max(made)}): add rounds or drop the level"
                )
        chosen = {f"{place}.regimes.{name}": regime.only for name, regime in task.regimes.items()}
        chosen |= {f"{place}.checks.{i}": check.only for i, check in enumerate(task.checks)}
        for where, only in chosen.items():
            _check_known(f"{where}.only.pretrainings", only.pretrainings, self.source.pretrainings)
            _check_known(f"{where}.only.pruning", only.pruning, self.pruning)
            _check_known(f"{where}.only.levels", only.levels, task.levels)


def _check_known(
    place: str, values: Iterable[str | int] | None, known: Collection[str | int]
) -> None:
    for value in values or ():
        if value not in known:
            raise ValueError(f"{place}: {value} is not one of {', '.join(map(str, known))}")
