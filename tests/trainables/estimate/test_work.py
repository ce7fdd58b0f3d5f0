"""Counted steps against what trainings, judgements and pruning really do."""

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces import grid
from search_spaces.reading import studies
from search_spaces.regimes import Attack, Containment, Evaluation, Recipe, Regime
from search_spaces.spec import Dataset, Model
from search_spaces.study import PruningPlan
from trainables.data import datasets
from trainables.data.images import Images
from trainables.estimate import work
from trainables.estimate.work import Net, Sizes, Step
from trainables.pruning.masks import ones
from trainables.pruning.tickets import imp
from trainables.training import evaluation, loop
from tuner.estimate.workload import retrainings

ON = Net(model=Model(arch="resnet8"), size=8, channels=1)
PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=3)
FGSM = Attack(kind="fgsm", epsilon=0.1, alpha=0.1)
STRIPES = Sizes(64, 32, 32)


@pytest.fixture
def counted(net):
    """A network and its forward passes: (training?, forms gradients?, of parameters?) -> images."""
    seen = []

    def note(module, inputs):
        parameters = next(module.parameters()).requires_grad
        seen.append((module.training, torch.is_grad_enabled(), parameters, len(inputs[0])))

    net.register_forward_pre_hook(note)
    return net, seen


def of(steps, operation):
    return {step.batch: n for step, n in steps.items() if step.operation == operation}


@pytest.mark.parametrize(
    "regime",
    [
        Regime(recipe=Recipe(epochs=3, batch_size=16, lr=0.01)),
        Regime(recipe=Recipe(epochs=2, batch_size=20, lr=0.01), attack=PGD),
        Regime(recipe=Recipe(epochs=2, batch_size=100, lr=0.01), attack=FGSM),
        Regime(recipe=Recipe(epochs=1, batch_size=16, lr=0.01), attack=PGD, attack_mode="eval"),
    ],
)
def test_a_training_takes_the_counted_steps(counted, stripes, regime):
    net, seen = counted
    list(loop.fit(net, stripes, regime, seed=0))
    steps = work.fit_steps(ON, STRIPES, regime, None)
    ((batch, expected),) = of(steps, "train").items()
    assert [n for trains, _, own, n in seen if trains and own] == [batch] * int(expected)
    attacks = [n for _, grad, own, n in seen if grad and not own]
    operation = "attack" if regime.attack_mode == "train" else "judge_attack"
    assert attacks == [batch] * int(of(steps, operation).get(batch, 0))


def test_a_judgement_takes_the_counted_passes(counted, stripes, monkeypatch):
    monkeypatch.setattr(work, "PLAIN_SHARE", 1.0)
    net, seen = counted
    with evaluation.evaluating(net), torch.no_grad():
        right = net(stripes.test.pixels()).argmax(1)
    seen.clear()
    # All images are right when clean: all are attacked, in the papers' protocol to the end.
    evaluation.judge(net, Images(stripes.test.x, right), PGD)
    steps = work.judge_steps(ON, 32, PGD, Evaluation(attack=PGD), None)
    for operation, graded in (("judge_attack", True), ("judge", False)):
        images = sum(n for _, grad, _, n in seen if grad == graded)
        assert images == sum(batch * count for batch, count in of(steps, operation).items())


def test_a_watched_training_takes_the_counted_probes(counted, stripes, monkeypatch):
    net, seen = counted
    recipe = Recipe(epochs=1, batch_size=64, lr=0.01)
    watch = Containment(probe_images=16, probe_steps=4)
    regime = Regime(recipe=recipe, attack=FGSM, containment=watch)
    monkeypatch.setattr(loop, "judge", lambda *_: pytest.fail("not the probe's"))
    monkeypatch.setattr(loop, "_validates", lambda *_: False)
    list(loop.fit(net, stripes, regime, 0, Evaluation(attack=PGD)))
    steps = work._probe_steps(ON, 32, watch)
    graded = sum(n for trains, grad, _, n in seen if grad and not trains)
    wanted = sum(batch * count for batch, count in of(steps, "judge_attack").items())
    # Images that are wrong when clean are not attacked; gradients at two places are of all.
    assert 2 * 16 <= graded <= wanted


@pytest.mark.parametrize("start", [1, 3, 9])
@pytest.mark.parametrize("attack", [None, FGSM])
def test_validated_epochs_are_those_of_the_loop(start, attack):
    recipe = Recipe(epochs=5, lr=0.1, validate_from=start)
    regime = Regime(recipe=recipe, attack=attack)
    assert work.validated(regime) == sum(loop._validates(regime, e) for e in range(1, 6))


def test_judged_batches_are_those_of_the_evaluation():
    assert work.JUDGED == evaluation.BATCH


@pytest.mark.parametrize("absent", [[1, 2, 3], [3], [2, 3], [1], [1, 3]])
def test_retrainings_are_those_of_imp(net, absent):
    recipe = Recipe(epochs=1, lr=0.1)
    plan = PruningPlan(method="imp", rounds=3, retraining=Regime(recipe=recipe))
    dense, calls = ones(net), []

    def retrain(weights, mask, level):
        calls.append(level)
        return weights

    done = min(absent) - 1
    found = (done, dense) if done else None
    list(imp(net.state_dict(), dense, plan.pruning, max(absent), retrain, found))
    assert retrainings(plan, absent) == len(calls)


def test_other_prunings_retrain_nothing():
    assert retrainings(PruningPlan(method="random", levels=(1, 5)), [1, 5]) == 0


def test_workers_share_a_batch():
    recipe = Recipe(epochs=1, batch_size=32, lr=0.1)
    steps = work.fit_steps(ON, STRIPES, Regime(recipe=recipe), None, workers=2)
    assert of(steps, "train") == {16: 2}


def lengths(dataset):
    splits = datasets.splits(dataset)
    return Sizes(len(splits.train), len(splits.val), len(splits.test))


@pytest.mark.parametrize("name", ["mnist-mini", "digits"])
@pytest.mark.parametrize("limit", [None, 300])
def test_sizes_of_embedded_sets_are_those_of_their_splits(name, limit):
    dataset = Dataset(name=name, size=16, limit=limit)
    assert work.sizes(dataset) == lengths(dataset)


def test_sizes_of_an_npz_are_those_of_its_splits(tmp_path):
    path = tmp_path / "own.npz"
    images, labels = np.zeros((64, 8, 8, 1), np.uint8), np.arange(64) % 4
    np.savez(path, train_x=images, train_y=labels, test_x=images[:20], test_y=labels[:20])
    dataset = Dataset(name="npz", size=8, path=str(path))
    assert work.sizes(dataset) == lengths(dataset) == Sizes(58, 6, 20)


@pytest.mark.parametrize("with_test", [False, True])
def test_sizes_of_a_folder_are_those_of_its_splits(tmp_path, with_test):
    for split, count in {"train": 15, "val": 4, **({"test": 3} if with_test else {})}.items():
        for label in ("cat", "dog"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    dataset = Dataset(name="folder", size=8, path=str(tmp_path))
    assert work.sizes(dataset) == lengths(dataset)


def test_transfers_of_a_kind_are_equal_work():
    cells = grid.transfers(studies.load("quickstart"))
    kinds = {work.transfer_kind(cell.transfer) for cell in cells}
    assert len(kinds) == len({cell.regime for cell in cells}) == 3


def test_a_transfer_is_training_and_judging():
    cell = next(c for c in grid.transfers(studies.load("quickstart")) if c.regime == "adversarial")
    steps = work.transfer_steps(work.transfer_kind(cell.transfer))
    # 8 epochs of 1,000 // 64 steps, each with two of PGD.
    assert of(steps, "train") == {64: 120}
    assert of(steps, "attack") == {64: 240}
    share = work.WORST_SHARE_TRAINED
    # Validated twice on 297 images by PGD-10; judged on 500 by PGD-20, one and a half times.
    wanted = {256: share * (2 * 10 * 297 + 1.5 * 20 * 500) / 256}
    assert of(steps, "judge_attack") == pytest.approx(wanted)
    assert all(isinstance(step, Step) for step in steps)
