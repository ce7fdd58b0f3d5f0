"""What a training consists of, counted in steps. Light: imports no torch.

What depends on results (how soon an attack fools an image) is counted as it usually is.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import Field

from search_spaces.base import LATER, Spec
from search_spaces.checks import (
    AttackCheck,
    AutoAttackCheck,
    Check,
    CorruptionsCheck,
    TransferAttackCheck,
)
from search_spaces.networks import Model
from search_spaces.regimes import Attack, Constant, Evaluation, Regime
from search_spaces.spec import Dataset, Kind, Theta, Ticket, Transfer
from trainables.data.catalogue import channels_and_classes
from trainables.data.layouts import split_sizes

JUDGED, ATTACKED = 256, Attack(kind="pgd", epsilon=8 / 255, alpha=2 / 255, steps=5)
"""Images of a step that evaluates, and its attack: others cost in proportion to their steps."""
# Under worst_iterate, images that are fooled are attacked no further: shares of the attack's steps
# that are computed on the quickstart's networks, with adversarial training and without.
TRAINED_SHARE, UNTRAINED_SHARE = 0.55, 0.2
# Of AutoAttack's standard ensemble, in steps of PGD: 2,800 with a gradient and 5,000 without, on
# the half of the images that stands.
AUTOATTACK = 2500
# Images that are looked at for each in a check of corruptions: 15 at 5 severities.
CORRUPTED = 75


class Step(Spec):
    """A kind of step: what decides how long one takes.

    With a regime, one optimiser step on `images` under its attack; without, evaluating `images`,
    all right when clean, clean or under `attack`.
    """

    model: Model
    size: int
    channels: int
    images: int
    regime: Regime | None = None
    attack: Attack | None = None
    kind: Kind = Field("labels", json_schema_extra=LATER)


class Training(NamedTuple):
    """What decides how long a training takes; its ticket and its seed do not.

    regime: None where nothing is trained: published weights are read, or kept ones judged;
    evaluation: None where nothing is evaluated; transferred: is it a transfer, whose best and last
    state are both tested?
    """

    model: Model
    dataset: Dataset
    regime: Regime | None
    evaluation: Evaluation | None
    transferred: bool = False
    fraction: float = 1.0
    checks: tuple[Check, ...] = ()


def training(spec: Theta | Ticket | Transfer) -> Training | None:
    """What is trained for a result; None for a mask that takes no training: IMP's first, which
    prunes theta itself, and those of other methods."""
    match spec:
        case Theta():
            return Training(spec.model, spec.dataset, spec.pretraining.train, spec.evaluation)
        case Ticket(theta=theta, pruning=pruning, level=level):
            if pruning is None or pruning.retraining is None:
                return None
            if pruning.method == "imp" and level < 2:
                return None
            return Training(theta.model, theta.dataset, pruning.retraining, None)
    return Training(
        model=spec.ticket.theta.model,
        dataset=spec.dataset,
        regime=spec.regime,
        evaluation=spec.evaluation,
        transferred=True,
        fraction=spec.fraction,
        checks=spec.checks or (),
    )


class _Evaluation(NamedTuple):
    """Images evaluated, the attack's steps on each (0: clean), and the network."""

    images: float
    steps: float
    model: Model


def steps(training: Training, workers: int = 1) -> dict[Step, float]:
    """How many steps of each kind a training takes in each of its processes. Raises InputError
    where the data that it counts are not there."""
    data, channels = training.dataset, channels_and_classes(training.dataset)[0]
    total: defaultdict[Step, float] = defaultdict(float)

    def add(count: float, model: Model, images: int, **of: Regime | Attack | None) -> None:
        bare = model.model_copy(update={"normalisation": None})
        step = Step(
            model=bare, size=data.size, channels=channels, images=images, kind=data.kind, **of
        )
        total[step] += count

    if regime := training.regime:
        train = max(1, round(training.fraction * split_sizes(data).train))
        batch = min(regime.recipe.batch_size, train)
        count = regime.recipe.epochs * train / batch
        add(count, training.model, max(2, batch // workers), regime=_plain(regime))
    for images, attacked, model in _evaluations(training):
        attack = ATTACKED if attacked else None
        effort = attacked / ATTACKED.steps if attacked else 1.0
        add(images / JUDGED * effort, model, JUDGED, attack=attack)
    return dict(total)


def _evaluations(training: Training) -> Iterator[_Evaluation]:
    model, data, regime, evaluation, transferred, _, _ = training
    images = split_sizes(data)
    if evaluation is None:
        return
    share = 1.0
    if evaluation.protocol == "worst_iterate":
        share = TRAINED_SHARE if regime is None or regime.attack else UNTRAINED_SHARE
    test, validation = (
        share * attack.steps * attack.restarts
        for attack in (evaluation.attack, evaluation.validation)
    )
    if regime is None:
        yield _Evaluation(images.test if transferred else images.val, test, model)
        yield from _checked(training, images.test)
        return
    epochs, watch = regime.recipe.epochs, regime.containment
    validated = epochs if watch else max(1, epochs - regime.recipe.validate_from + 1)
    yield _Evaluation(validated * images.val, validation if regime.attack else 0, model)
    if watch:
        # FGSM and the gradients at two places are three steps beside the probe's own.
        probed = epochs * min(images.val, watch.probe_images)
        yield _Evaluation(probed, watch.probe_steps + 3, model)
    # One state only has been validated where the last alone is: best and last are the same.
    tested = 1 + (transferred and validated > 1)
    yield _Evaluation(tested * images.test, test, model)
    yield from _checked(training, images.test)


def _checked(training: Training, images: int) -> Iterator[_Evaluation]:
    for check in training.checks:
        count = min(images, check.images or images)
        match check:
            case AutoAttackCheck():
                yield _Evaluation(count, AUTOATTACK, training.model)
            case TransferAttackCheck():
                yield _Evaluation(count, check.attack.steps, check.model)
            case AttackCheck():
                steps = check.attack.steps * check.attack.restarts
                yield _Evaluation(count, steps, training.model)
            case CorruptionsCheck():
                yield _Evaluation(count * CORRUPTED, 0, training.model)


def _plain(regime: Regime) -> Regime:
    """A regime without what does not decide how long a step takes."""
    same = {
        **{"epochs": 1, "batch_size": 2, "lr": 1e-3, "schedule": Constant(), "validate_from": 1},
        **{"warmup": 0, "averaging": None},
    }
    recipe = regime.recipe.model_copy(update=same)
    return regime.model_copy(update={"recipe": recipe, "containment": None})
