"""Networks that a study can name (ours, a library's, the user's own), and published weights."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from search_spaces import own
from search_spaces.base import UNHASHED, Name, Sha256, Spec

RESNETS = (
    *("resnet8", "resnet18", "resnet20", "resnet32"),
    *("resnet34", "resnet44", "resnet50", "resnet56"),
)
PREACTS = ("preactresnet18", "preactresnet34")
LIBRARIES = ("torchvision", "timm")
_WRN = re.compile(r"wrn-([1-9]\d*)-([1-9]\d*)")
TAKES = (
    f"{', '.join(RESNETS)}, {', '.join(PREACTS)}, wrn-DEPTH-WIDTH, torchvision:NAME, timm:NAME or "
    "your own package.module:factory"
)


def library_and_name(arch: str) -> tuple[str | None, str]:
    """(the library that an architecture is of, its name there); (None, the name) of ours and of the
    user's own."""
    library, colon, name = arch.partition(":")
    return (library, name) if colon and library in LIBRARIES else (None, arch)


def is_users(arch: str) -> bool:
    """Is an architecture the user's own factory?"""
    return own.is_own(arch) and library_and_name(arch)[0] is None


def depth_and_width(arch: str) -> tuple[int, int] | None:
    """(layers, width factor) of a wide ResNet; None for any other architecture."""
    match = _WRN.fullmatch(arch)
    return (int(match[1]), int(match[2])) if match else None


def _known(arch: str) -> str:
    wide = depth_and_width(arch)
    if wide and (wide[0] < 10 or wide[0] % 6 != 4 or wide[0] > 1000 or wide[1] > 64):
        raise ValueError(
            f"{arch}: a wide ResNet has 6n + 4 layers (10, 16, 22, 28, 34, ...) and a width factor "
            "of at most 64"
        )
    if wide or arch in (*RESNETS, *PREACTS) or _LIBRARYS.fullmatch(arch) or is_users(arch):
        return arch
    if target := own.meant("networks", arch):
        return target
    raise ValueError(f"{arch} is no network: takes {TAKES}")


_LIBRARYS = re.compile(rf"({'|'.join(LIBRARIES)}):[A-Za-z0-9][A-Za-z0-9_.-]*")
_SCHEMA = {
    "anyOf": [
        {"enum": [*RESNETS, *PREACTS]},
        {"type": "string", "pattern": r"^wrn-[0-9]+-[0-9]+$|^[A-Za-z_][A-Za-z0-9_.]*:.+$"},
    ]
}
Arch = Annotated[str, AfterValidator(_known), WithJsonSchema(_SCHEMA)]

Channels = Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)]


class Normalisation(Spec):
    """Pixels in [0, 1] become (pixels - mean) / std, a number for each colour channel."""

    mean: Channels = Field(
        description="subtracted from pixels in [0, 1], one number for each channel"
    )
    std: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = Field(
        description="divided by, one number for each channel"
    )

    @model_validator(mode="after")
    def _one_of_each_a_channel(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std must have one number for each colour channel")
        return self


def _pairs(value: Any) -> Any:
    """A mapping as pairs in the order of their names: what has no order has one spelling."""
    return tuple(sorted(value.items())) if isinstance(value, dict) else value


Setting = bool | int | float | str | tuple[int | float, ...]
Options = Annotated[
    tuple[tuple[Name, Setting], ...],
    BeforeValidator(_pairs, json_schema_input_type=dict[Name, Setting]),
]


class Model(Spec):
    """A network body; its head and its normalisation come with the dataset it is built for.

    Ours are the ResNets of CIFAR (resnet8, 20, 32, 44, 56) and of ImageNet (18, 34, 50), WRN and
    PreAct ResNets as on RobustBench. torchvision:NAME and timm:NAME are those libraries'
    classifiers; package.module:factory is a function of your own, from the number of classes to a
    network.

    `normalisation` replaces the source dataset's, for weights that were trained with another;
    transfers always use their own dataset's.
    """

    arch: Arch = Field(
        description="its name; of wrn-DEPTH-WIDTH, as wrn-28-10, any depth of 6n + 4"
    )
    width: int | None = Field(
        None, ge=1, le=1024, description="channels of the first stage, of resnet and preactresnet"
    )
    stem: Literal["imagenet", "cifar", "half"] | None = Field(
        None,
        description="of resnet: 7x7/2 and max-pool; 3x3/1; 3x3/2. Default: the architecture's own",
    )
    normalisation: Normalisation | None = Field(
        None,
        description="of pixels, where the weights were trained with another than the dataset's",
    )
    options: Options | None = Field(
        None,
        description="further arguments of a library's network or of your factory, by name, as "
        "{patch_size: 4}",
    )
    head: str | None = Field(
        None,
        pattern=r"^\w+(\.\w+)*$",
        description="the module that gives the logits, as classifier.3; default: the last linear "
        "layer with as many outputs as classes",
    )
    prunable: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="patterns (* and ?) of the parameters that are pruned; default: the weights of "
        "all convolutions and linear layers but the head",
    )
    sha256: Sha256 | None = Field(
        None,
        description="of the source file of your factory; default: found out by the run",
    )

    @property
    def own(self) -> str | None:
        """The user's own code that it names, if it does."""
        return self.arch if is_users(self.arch) else None

    @model_validator(mode="after")
    def _fields_are_of_this_network(self) -> Self:
        ours = {"width": self.arch in (*RESNETS, *PREACTS), "stem": self.arch in RESNETS}
        for field, has in ours.items():
            if getattr(self, field) is not None and not has:
                raise ValueError(f"{field} is not a setting of {self.arch}: leave it out")
        if self.options is not None and ":" not in self.arch:
            raise ValueError(f"options are for libraries and factories, not for {self.arch}")
        if self.sha256 is not None and not is_users(self.arch):
            raise ValueError(f"sha256 is of a factory of your own, not for {self.arch}")
        return self


BY_NAME = ("torchvision", "timm", "huggingface")
PublishedName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$", max_length=200)
]


class Checkpoint(Spec):
    """Published weights. `path` says where the file is, `sha256` what it is (found out and filled
    in by the run where the study leaves it out). What is fetched by name lies in the data folder,
    under weights/.

    torchvision:      `weights` names them, as IMAGENET1K_V1; fetched once, then read from the cache
    timm:             `weights` is timm's tag, as augreg_in21k_ft_in1k
    huggingface:      `weights` is OWNER/REPOSITORY/FILE, in whatever layout the file has
    robustness:       MadryLab's: a dict with `model`, its keys behind module.model. or
                      module.attacker.model., normaliser entries beside them
    fast_adversarial: locuslab's: a dict with `state_dict`, its keys behind module.
    state_dict:       parameters by name, or such a dict under `state_dict`, with or without module.
    """

    format: Literal[
        "torchvision", "timm", "huggingface", "robustness", "fast_adversarial", "state_dict"
    ] = Field(
        description="where weights are published by name: torchvision, timm, huggingface; or who "
        "wrote the file: robustness (MadryLab), fast_adversarial (locuslab), or state_dict for any "
        "other"
    )
    weights: PublishedName | None = Field(
        None,
        description="their name: of torchvision as IMAGENET1K_V1, of timm its tag, of huggingface "
        "OWNER/REPOSITORY/FILE",
    )
    revision: Name | None = Field(
        None, description="of a huggingface repository: a branch, tag or commit; default: main"
    )
    only: Name | None = Field(
        None, description="the name that the network stands behind, where a file holds several"
    )
    path: str | None = Field(
        None,
        json_schema_extra=UNHASHED,
        description="the file, from the data folder; not part of the key",
    )
    sha256: Sha256 | None = Field(None, description="of the file; default: found out by the run")

    @model_validator(mode="after")
    def _name_or_path(self) -> Self:
        by_name = self.format in BY_NAME
        # Of what is fetched into the data folder, a run fills in the path.
        misplaced = self.format == "torchvision" if self.path is not None else not by_name
        if by_name != (self.weights is not None) or misplaced:
            raise ValueError(
                "formats torchvision, timm, huggingface take weights: NAME, others path: FILE"
            )
        if self.format == "huggingface" and (self.weights or "").count("/") < 2:
            raise ValueError("format huggingface takes weights: OWNER/REPOSITORY/FILE")
        if self.revision is not None and self.format != "huggingface":
            raise ValueError("revision is for format huggingface alone")
        return self
