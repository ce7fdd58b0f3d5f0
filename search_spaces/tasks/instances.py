"""What classification can have and instance segmentation cannot: said before anything starts."""

from collections.abc import Collection, Mapping

from search_spaces.networks import RESNETS, Model
from search_spaces.regimes import Evaluation, Regime, RegimeName
from search_spaces.spec import Augmentation, Dataset


def check(
    dataset: Dataset,
    model: Model,
    regimes: Mapping[RegimeName, Regime],
    evaluation: Evaluation,
    checks: Collection[object],
) -> None:
    """Raises ValueError, naming the field, where a downstream task of instances asks for what is of
    classification alone; of other tasks, nothing."""
    if dataset.kind != "instances":
        return
    if model.arch not in RESNETS:
        raise ValueError(
            f"dataset: {dataset.title} is of instances, which takes a detector on one of "
            f"{', '.join(RESNETS)}, not {model.arch}: choose one as source.model.arch"
        )
    if dataset.view != "resize" or dataset.augment != Augmentation():
        raise ValueError(
            f"dataset: masks of {dataset.title} are seen whole: leave view and augment out"
        )
    if checks:
        raise ValueError("checks: count images, and mask AP is no mean over images: leave them out")
    if evaluation.protocol != "plain":
        raise ValueError(
            f"evaluation.protocol: {evaluation.protocol} counts images, and mask AP is no mean "
            "over images: take plain"
        )
    for name, regime in regimes.items():
        if wrong := _of_classification(regime):
            raise ValueError(f"regimes.{name}.{wrong}: is of classification alone: leave it out")


def _of_classification(regime: Regime) -> str | None:
    """A field of a regime that a detector's training cannot have; None where it has none."""
    found = {
        "loss": regime.loss.kind != "cross_entropy" or regime.loss.smoothing > 0,
        "attack": regime.attack is not None and regime.attack.kind != "pgd",
        "containment": regime.containment is not None,
        "recipe.averaging": regime.recipe.averaging is not None,
    }
    return next((name for name, has in found.items() if has), None)
