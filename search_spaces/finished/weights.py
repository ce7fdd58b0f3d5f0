"""What decides the weights of a theta, a ticket or a transfer, and what only judges them."""

from functools import lru_cache
from typing import TypeVar

from pydantic import Field

from search_spaces.base import Spec
from search_spaces.regimes import Evaluation, Regime
from search_spaces.spec import Theta, Ticket, Transfer

Source = TypeVar("Source", Theta, Ticket)


class Weights(Spec):
    """The weights that a transfer ends in: those of its best state by validation."""

    transfer: Transfer = Field(description="as far as it decides them")


def weights(transfer: Transfer) -> Weights:
    """What a transfer's weights are kept under: the same for all transfers that differ in nothing
    but how they are judged, by the attack on test images, its protocol, or further checks.

    What it holds is for its key alone: of its evaluations only that part is left which chooses a
    best state.
    """
    decided = _deciding(transfer.evaluation, transfer.regime)
    same = {"ticket": trained(transfer.ticket), "evaluation": decided, "checks": None}
    return Weights(transfer=transfer.model_copy(update=same))


@lru_cache(maxsize=1024)
def trained(spec: Source) -> Source:
    """A theta or a ticket as far as it decides weights or mask, for its key alone: equal for those
    that differ in nothing but how they are judged."""
    if isinstance(spec, Theta):
        decided = _deciding(spec.evaluation, spec.pretraining.train)
        return spec.model_copy(update={"evaluation": decided})
    theta, again = trained(spec.theta), spec.pruning and spec.pruning.retraining
    if again and again.containment:
        # Watched re-trainings are validated by theta's evaluation, and end in their best states.
        theta = theta.model_copy(update={"evaluation": _deciding(spec.theta.evaluation, again)})
    return spec.model_copy(update={"theta": theta})


def _deciding(evaluation: Evaluation, regime: Regime | None) -> Evaluation | None:
    """The part of an evaluation by which a training goes: validation, where there are several
    epochs to choose from, or a containment that watches it."""
    if regime is None:
        return None
    recipe, watched = regime.recipe, regime.containment is not None
    chooses = recipe.validate_from < recipe.epochs
    if regime.attack is None or not (chooses or watched):
        return None
    return evaluation.model_copy(update={"attack": None, "protocol": None})
