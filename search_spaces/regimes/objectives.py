"""What a training minimises on a batch, and what it does to the weights meanwhile."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from search_spaces.base import Spec


class CrossEntropy(Spec):
    """The cross-entropy of the images that are trained on."""

    kind: Literal["cross_entropy"] = Field(
        "cross_entropy", description="of the images as trained on (attacked, if so)"
    )
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of a label that is spread evenly over all classes"
    )


class Trades(Spec):
    """TRADES (Zhang et al. 2019): the cross-entropy of clean images, and `beta` times how far the
    prediction moves under an attack that moves it most."""

    kind: Literal["trades"] = Field(description="TRADES")
    beta: float = Field(6.0, gt=0, description="weight of robustness")


class Mart(Spec):
    """MART (Wang et al. 2020): a boosted cross-entropy of attacked images, and `beta` times how far
    the prediction moves, where the clean image is predicted wrongly or unsurely."""

    kind: Literal["mart"] = Field(description="MART")
    beta: float = Field(5.0, gt=0, description="weight of what moves")


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Loss = Annotated[
    Annotated[CrossEntropy | Trades | Mart, Field(discriminator="kind")],
    BeforeValidator(_by_name, json_schema_input_type=CrossEntropy | Trades | Mart | str),
]


class Awp(Spec):
    """Adversarial weight perturbation (Wu et al. 2020): the gradient is taken at the weights that,
    within `gamma` of each layer's norm, make the loss largest to first order."""

    gamma: float = Field(0.01, gt=0, lt=1, description="size, relative to each weight's norm")
    start: int = Field(1, ge=1, description="first epoch (from 1) in which weights are perturbed")
