"""Counted steps against what trainings and evaluations really do."""

import pytest
import torch

from search_spaces import grid
from search_spaces.checks import AttackCheck, AutoAttackCheck, CorruptionsCheck
from search_spaces.reading import studies
from search_spaces.regimes import Attack, Evaluation, Recipe, Regime
from search_spaces.spec import Dataset, Model
from trainables.data.images import Images
from trainables.estimate import steps
from trainables.estimate.steps import Training
from trainables.training.evaluation import evaluate, evaluating
from trainables.training.loop import fit

MODEL = Model(arch="resnet8", width=4)
PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=3)
FGSM = Attack(kind="fgsm", epsilon=0.1, alpha=0.1)
# As many images as stripes has: 64 to train on, 32 of each other split.
DATA = Dataset(name="digits", size=8, limit=32)


@pytest.fixture
def counted(net):
    """A network and its forward passes: (training?, forms gradients?, of parameters?) -> images."""
    seen = []

    def note(module, inputs):
        parameters = next(module.parameters()).requires_grad
        seen.append((module.training, torch.is_grad_enabled(), parameters, len(inputs[0])))

    net.register_forward_pre_hook(note)
    return net, seen


def of(regime, evaluation=None, **more):
    return Training(MODEL, DATA, regime, evaluation, **more)


def optimiser_steps(counts):
    """(images of a step, how many) of the only kind of optimiser step."""
    ((step, count),) = [(step, count) for step, count in counts.items() if step.regime]
    return step.images, count


def evaluated(counts, attacked):
    """Images evaluated clean, or images times attack steps."""
    kinds = [(s, n) for s, n in counts.items() if not s.regime and bool(s.attack) == attacked]
    return sum(n * s.images * (s.attack.steps if s.attack else 1) for s, n in kinds)


@pytest.mark.parametrize(
    "regime",
    [
        Regime(recipe=Recipe(epochs=3, batch_size=8, lr=0.01)),
        Regime(recipe=Recipe(epochs=2, batch_size=16, lr=0.01), attack=PGD),
        Regime(recipe=Recipe(epochs=2, batch_size=100, lr=0.01), attack=FGSM),
    ],
)
def test_a_training_takes_the_counted_steps(counted, stripes, regime):
    net, seen = counted
    part = stripes.train[:32]
    list(fit(net, type(stripes)(part, part, part, 2, (0.35,), (0.25,)), regime, seed=0))
    batch, count = optimiser_steps(steps.steps(of(regime)))
    assert [n for trains, _, own, n in seen if trains and own] == [batch] * int(count)


def test_an_evaluation_takes_the_counted_passes(counted, stripes):
    net, seen = counted
    with evaluating(net), torch.no_grad():
        right = net(stripes.test.pixels()).argmax(1)
    seen.clear()
    # All images are right when clean: all are attacked, in the papers' protocol to the end.
    evaluate(net, Images(stripes.test.x, right), PGD)
    regime = Regime(recipe=Recipe(epochs=1, lr=0.1), attack=PGD)
    none = Attack(kind="pgd", epsilon=0.1, alpha=0.1, steps=1)
    counts = steps.steps(of(regime, Evaluation(attack=PGD, validation=none)))
    graded = sum(n for _, grad, _, n in seen if grad)
    assert evaluated(counts, attacked=True) == pytest.approx(graded + 32)  # the validation's


@pytest.mark.parametrize(
    ("first", "attack", "validations"), [(1, None, 5), (3, None, 3), (9, None, 1), (3, FGSM, 5)]
)
def test_validated_epochs_are_those_of_the_loop(net, stripes, first, attack, validations):
    recipe = Recipe(epochs=5, batch_size=32, lr=0.01, validate_from=first)
    regime = Regime(recipe=recipe, attack=attack)
    how = Evaluation(attack=PGD)
    assert sum(epoch.val is not None for epoch in fit(net, stripes, regime, 0, how)) == validations
    if attack is None:
        tested = PGD.steps * 32
        counts = steps.steps(of(regime, how))
        assert evaluated(counts, attacked=False) == pytest.approx(32 * validations)
        assert evaluated(counts, attacked=True) == pytest.approx(tested)


def test_a_transfer_is_training_and_evaluating():
    cell = next(c for c in grid.transfers(studies.load("quickstart")) if c.regime == "adversarial")
    counts = steps.steps(steps.training(cell.transfer))
    # 20 epochs of 300 / 64 steps; validated once on 200 images by PGD-10, and so tested once, on
    # 1,297 by PGD-20.
    assert optimiser_steps(counts) == (64, 93.75)
    wanted = steps.TRAINED_SHARE * (10 * 200 + 20 * 1297)
    assert evaluated(counts, attacked=True) == pytest.approx(wanted)


def test_transfers_of_a_kind_are_equal_work():
    cells = grid.transfers(studies.load("quickstart"))
    kinds = {steps.training(cell.transfer) for cell in cells}
    assert len(kinds) == len({cell.regime for cell in cells}) == 3


def test_workers_share_a_batch():
    regime = Regime(recipe=Recipe(epochs=1, batch_size=32, lr=0.1))
    assert optimiser_steps(steps.steps(of(regime), workers=2)) == (16, 1)


def test_published_weights_are_evaluated_on_validation_images():
    counts = steps.steps(of(None, Evaluation(attack=PGD)))
    assert not [step for step in counts if step.regime]
    assert evaluated(counts, attacked=True) == pytest.approx(PGD.steps * 32)


def test_autoattack_counts():
    regime = Regime(recipe=Recipe(epochs=1, lr=0.1))
    check = AutoAttackCheck(kind="autoattack", epsilon=0.1, images=10)
    plain, checked = (
        evaluated(steps.steps(of(regime, Evaluation(attack=PGD), checks=checks)), True)
        for checks in ((), (check,))
    )
    assert checked - plain == pytest.approx(10 * steps.AUTOATTACK)


def test_corruptions_and_a_second_attack_count():
    regime = Regime(recipe=Recipe(epochs=1, lr=0.1))
    often = PGD.model_copy(update={"restarts": 3})
    second = AttackCheck(kind="attack", attack=often, images=10)
    corrupted = CorruptionsCheck(kind="corruptions", images=10)
    evaluation = Evaluation(attack=PGD)
    plain, further = (
        steps.steps(of(regime, evaluation, checks=checks)) for checks in ((), (second, corrupted))
    )
    attacked = evaluated(further, True) - evaluated(plain, True)
    clean = evaluated(further, False) - evaluated(plain, False)
    assert (attacked, clean) == pytest.approx((10 * 3 * PGD.steps, 10 * 15 * 5))


def test_imp_retrains_for_all_tickets_but_the_first():
    cells = grid.tickets(studies.load("quickstart"))
    retrained = {c.level for c in cells if steps.training(c.ticket) and c.pruning == "imp"}
    assert retrained == set(range(2, 14))
    assert not any(steps.training(c.ticket) for c in cells if c.pruning == "random")
