"""Further checks of a transferred network: attacks made on another one, and AutoAttack."""

import logging
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load as tensors
from torch import nn

from search_spaces.checks import (
    AttackCheck,
    AutoAttackCheck,
    CorruptionsCheck,
    TransferAttackCheck,
)
from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint
from search_spaces.regimes import Attack, Evaluation, Recipe, Regime
from search_spaces.spec import Dataset, Model, Ticket, Transfer
from trainables.corruptions.catalogue import CORRUPTIONS, corrupted
from trainables.data import datasets, images
from trainables.jobs import transfer
from trainables.jobs.outcome import outcome
from trainables.judging import checks
from trainables.models import networks
from trainables.store.ledger import open_ledger
from trainables.store.records import now
from trainables.training.evaluation import evaluate
from trainables.training.loop import fit

SURROGATE = Model(arch="resnet8", width=4)
PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.02, steps=10)
REGIME = Regime(recipe=Recipe(epochs=6, batch_size=16, lr=0.05))


@pytest.fixture
def trained(net, stripes):
    """The tiny network after its task."""
    list(fit(net, stripes, REGIME, 0))
    return net


@pytest.fixture
def surrogate(stripes):
    """Another network for the same task."""
    other = networks.build(SURROGATE, 2, stripes.mean, stripes.std, seed=7)
    list(fit(other, stripes, REGIME, 1))
    return other


@pytest.fixture
def published(surrogate, tmp_path):
    """The other network's weights in a file."""
    torch.save(surrogate.state_dict(), tmp_path / "other.pt")
    return Checkpoint(format="state_dict", path=str(tmp_path / "other.pt"))


@pytest.fixture
def check(published):
    return TransferAttackCheck(kind="transfer_attack", attack=PGD, model=SURROGATE, load=published)


def accuracy(net, data, attack=None):
    scores = evaluate(net, data.test, attack).scores
    return scores.sa if attack is None else scores.ra


def test_images_are_made_on_the_surrogate(surrogate, stripes, check):
    record, _ = checks.run(check, surrogate, stripes)
    assert accuracy(surrogate, stripes) > 0.9
    assert record["ra"] <= accuracy(surrogate, stripes) - 0.3


def test_transferred_attacks_are_no_stronger_than_ones_own(trained, stripes, check):
    record, _ = checks.run(check, trained, stripes)
    own = accuracy(trained, stripes, PGD)
    assert own < accuracy(trained, stripes)
    assert record["ra"] >= own


def test_a_record_agrees_with_the_images(trained, stripes, check):
    record, right = checks.run(check, trained, stripes)
    assert set(record) == {"kind", "name", "images", "ra", "warnings"}
    assert (record["kind"], record["images"]) == ("transfer_attack", 32)
    assert (right.dtype, right.shape) == (torch.bool, (32,))
    assert record["ra"] == right.double().mean().item()
    assert record["warnings"] == []


def test_images_limits_a_check_to_the_first(trained, stripes, check):
    record, right = checks.run(check.model_copy(update={"images": 10}), trained, stripes)
    first = replace(stripes, test=stripes.test[:10])
    assert record["images"] == len(right) == 10
    assert torch.equal(right, checks.run(check, trained, first)[1])


def test_a_check_says_the_same_every_time(trained, stripes, check):
    (first, right), (again, same) = (checks.run(check, trained, stripes) for _ in range(2))
    assert first == again and torch.equal(right, same)


def test_a_check_leaves_the_network_as_it_was(trained, stripes, check):
    trained.train()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    checks.run(check, trained, stripes)
    assert trained.training
    assert all(torch.equal(value, before[n]) for n, value in trained.state_dict().items())


def test_the_surrogates_own_normalisation_counts(trained, surrogate, stripes, check):
    """Weights for other pixels than they get make poorer attacks on the network itself."""
    own = {"mean": stripes.mean, "std": stripes.std}
    same, odd = (
        check.model_copy(
            update={
                "model": Model(**SURROGATE.model_dump(exclude={"normalisation"}), normalisation=n)
            }
        )
        for n in (own, {"mean": (1.0,), "std": (0.01,)})
    )
    plain = checks.run(check, surrogate, stripes)[1]
    assert torch.equal(checks.run(same, surrogate, stripes)[1], plain)
    assert not torch.equal(checks.run(odd, surrogate, stripes)[1], plain)


def test_what_the_library_says_is_kept(stripes, monkeypatch, trained, check):
    def talking(*_):
        logging.getLogger("auto-attack").warning("odd: %s", "gradients vanish")
        return torch.ones(32, dtype=torch.bool)

    monkeypatch.setattr(checks, "withstands_other", talking)
    assert checks.run(check, trained, stripes)[0]["warnings"] == ["odd: gradients vanish"]
    logging.getLogger("auto-attack").warning("afterwards")
    assert logging.getLogger("auto-attack").handlers == []


def test_a_missing_library_is_named_in_one_line(trained, stripes, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    auto = AutoAttackCheck(kind="autoattack", epsilon=0.1)
    with pytest.raises(InputError, match="pyautoattack is not installed: pip install") as caught:
        checks.run(auto, trained, stripes)
    assert "\n" not in str(caught.value)


def test_autoattack_is_never_above_pgd():
    pytest.importorskip("pyautoattack")
    data = datasets.splits(Dataset(name="digits", size=8, limit=256))
    data = replace(data, test=data.test[:32])
    torch.manual_seed(0)
    # AutoAttack aims at nine other classes; one layer is enough to have ten.
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    list(fit(linear, data, Regime(recipe=Recipe(epochs=40, batch_size=32, lr=0.2)), 0))
    auto = AutoAttackCheck(kind="autoattack", epsilon=0.08, images=24)
    record, right = checks.run(auto, linear, data)
    pgd = Attack(kind="pgd", epsilon=0.08, alpha=0.02, steps=20)
    theirs = evaluate(linear, data.test[:24], pgd).attacked
    assert record["images"] == 24 and record["kind"] == "autoattack"
    assert record["ra"] == right.double().mean().item()
    assert 0 < record["ra"] <= theirs.double().mean().item() < 1


def flat_task(classes):
    """A one-layer network and 16 random images that it classifies correctly."""
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    x = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8)
    part = images.Images(x, linear(x / 255).argmax(1))
    return linear, images.Splits(part, part, part, classes, (0.5,), (0.25,))


def test_autoattack_aims_at_no_more_classes_than_there_are():
    pytest.importorskip("pyautoattack")
    linear, data = flat_task(4)
    record, _ = checks.run(AutoAttackCheck(kind="autoattack", epsilon=0.005), linear, data)
    assert 0 < record["ra"] <= 1


def test_autoattack_of_too_few_classes_is_refused():
    pytest.importorskip("pyautoattack")
    linear, data = flat_task(3)
    with pytest.raises(InputError, match="need 4 classes, there are 3"):
        checks.run(AutoAttackCheck(kind="autoattack", epsilon=0.005), linear, data)


def test_a_transfers_result_holds_its_checks(net, stripes, check, tmp_path):
    theta = {
        "dataset": {"name": "digits", "size": 8},
        "model": SURROGATE,
        "pretraining": {"train": REGIME},
        "evaluation": {"attack": PGD},
    }
    spec = Transfer(
        ticket=Ticket(theta=theta, pruning=None, level=0),
        dataset=theta["dataset"],
        regime=REGIME,
        evaluation=Evaluation(attack=PGD),
        seed=0,
        checks=(check, check.model_copy(update={"images": 10})),
    )
    task = transfer.Task(spec, net, None, stripes, now())
    reached = outcome(partial(transfer.train, task), spec.regime)
    ledger = open_ledger(tmp_path)
    result, files = transfer.conclude(task, reached, ledger)
    assert [(c["kind"], c["images"]) for c in result["checks"]] == [
        ("transfer_attack", 32),
        ("transfer_attack", 10),
    ]
    bits = tensors(files["correct.safetensors"])
    assert set(bits) == {"clean", "attacked", "check.0", "check.1"}
    for number, record in enumerate(result["checks"]):
        assert bits[f"check.{number}"].double().mean().item() == record["ra"]
    without = spec.model_copy(update={"checks": None})
    result, files = transfer.conclude(replace(task, spec=without), reached, ledger)
    assert "checks" not in result
    assert set(tensors(files["correct.safetensors"])) == {"clean", "attacked"}


def test_a_check_holds_one_batch_of_images_at_a_time(monkeypatch, trained, surrogate, stripes):
    """As floats, 10,000 images of 224 pixels are 6 GB: each batch is done before the next comes."""
    events = []
    pixels = images.Images.pixels
    monkeypatch.setattr(
        images.Images, "pixels", lambda self, *a: events.append(len(self)) or pixels(self, *a)
    )
    trained.register_forward_hook(lambda *_: events.append("evaluated"))
    many = stripes.train[torch.arange(600) % 64]
    right = checks.withstands_other(trained.eval(), surrogate, many, PGD)
    assert len(right) == 600
    assert events == [256, "evaluated", 256, "evaluated", 88, "evaluated"]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_second_attack_is_judged_as_the_first(norm, trained, stripes):
    attack = Attack(kind="pgd", norm=norm, epsilon=0.3, alpha=0.1, steps=5, restarts=2)
    check = AttackCheck(kind="attack", attack=attack, images=20)
    record, right = checks.run(check, trained, stripes)
    assert torch.equal(right, evaluate(trained, stripes.test[:20], attack).attacked)
    assert (record["name"], record["images"]) == (f"pgd_{norm}", 20)
    worst = check.model_copy(update={"protocol": "worst_iterate"})
    assert checks.run(worst, trained, stripes)[0]["ra"] <= record["ra"]


def test_corruptions_are_counted_one_by_one(trained, stripes):
    record, right = checks.run(CorruptionsCheck(kind="corruptions", images=20), trained, stripes)
    assert (right.shape, right.dtype) == ((20, 15, 5), torch.bool)
    assert record["images"] == 20 and record["sa"] == right.double().mean().item()
    assert list(record["by"]) == list(CORRUPTIONS)
    assert record["by"]["fog"] == right[:, list(CORRUPTIONS).index("fog")].double().mean(0).tolist()
    # Contrast draws nothing: the images are known.
    x = corrupted(stripes.test[:20].x, "contrast", 4, seed=0)
    by_hand = evaluate(trained, images.Images(x, stripes.test[:20].y), None).clean
    assert torch.equal(right[:, list(CORRUPTIONS).index("contrast"), 3], by_hand)
    again = checks.run(CorruptionsCheck(kind="corruptions", images=20), trained, stripes)
    assert again[0] == record and torch.equal(again[1], right)
