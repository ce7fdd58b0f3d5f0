"""What was trained is judged by another evaluation without being trained again, to the same bits as
if it had been."""

import pytest
import torch
from safetensors.torch import load_file

from search_spaces import grid
from search_spaces.checks import AutoAttackCheck
from search_spaces.finished.weights import trained as trained_alike
from search_spaces.finished.weights import weights
from search_spaces.keys import key
from search_spaces.reading import studies
from search_spaces.spec import Theta
from trainables.data import datasets
from trainables.jobs import chain, theta, transfer, transfer_trial
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import open_ledger
from trainables.store.weights import packed, state_of, unpacked
from trainables.training.ranks import Shard

CPU = torch.device("cpu")
PGD = "{kind: pgd, steps: %d, epsilon: 0.1, alpha: 0.05}"
YAML = f"""
name: tiny
source:
  dataset: {{name: digits, size: 8, limit: 96}}
  model: {{arch: resnet8, width: 4}}
  pretrainings: {{standard: {{train: {{recipe: {{epochs: 1, batch_size: 32, lr: 0.05}}}}}}}}
pruning:
  imp: {{method: imp, rounds: 2, retraining: {{recipe: {{epochs: 1, batch_size: 32, lr: 0.05}}}}}}
downstream:
  - dataset: {{name: mnist-mini, size: 8, limit: 96}}
    levels: [0, 2]
    seeds: [0]
    regimes:
      standard: {{recipe: {{epochs: 1, batch_size: 16, lr: 0.05}}}}
      adversarial:
        attack: {{kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}}
        recipe: {{epochs: 2, batch_size: 16, lr: 0.05}}
evaluation: {{attack: {PGD % 2}, validation: {PGD % 2}}}
"""
FILE = []
STRONGER = ["evaluation.attack.steps=7", "evaluation.protocol=worst_iterate"]


@pytest.fixture(scope="module", autouse=True)
def written(tmp_path_factory):
    FILE.append(tmp_path_factory.mktemp("study") / "tiny.yaml")
    FILE[0].write_text(YAML)


def read(overrides=()):
    return studies.load(str(FILE[0]), overrides)


def finish(study, ledger, keep=True):
    """Computes what the ledger lacks of a study."""
    worker = Worker(ledger, Shard(), CPU)
    for cell in grid.thetas(study):
        list(run_chain(Chain(theta=cell.theta, plans=tuple(study.pruning.values())), worker))
    for cell in grid.transfers(study):
        if not ledger.has(cell.transfer):
            list(transfer.run(transfer.prepare(cell.transfer, ledger, CPU), ledger, keep))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    ledger = open_ledger(tmp_path_factory.mktemp("trained"))
    finish(read(), ledger)
    return ledger


def judgement(ledger, spec):
    result, files = ledger.result(spec), ledger.files(spec)
    parts = ("test", "chance", "val", "best_epoch", "state", "kept", "layers")
    return {name: result[name] for name in parts if name in result}, files


def no_training(*arguments, **named):
    pytest.fail("trains")


def test_another_evaluation_trains_nothing_and_scores_as_if_it_had(trained, tmp_path, monkeypatch):
    stronger = read(STRONGER)
    afresh = open_ledger(tmp_path)
    finish(stronger, afresh)
    for module in (transfer, chain, theta):
        monkeypatch.setattr(module, "fit", no_training)
    finish(stronger, trained)
    specs = grid.expand(stronger)
    before = grid.expand(read()).keys
    for spec in [*specs.sources.values(), *(c.transfer for c in specs.transfers.values())]:
        assert key(spec) not in before
        assert judgement(trained, spec) == judgement(afresh, spec)


def test_a_further_check_is_made_of_kept_weights(trained, monkeypatch):
    pytest.importorskip("pyautoattack")
    cell = next(c for c in grid.transfers(read()) if c.regime == "adversarial")
    check = AutoAttackCheck(kind="autoattack", epsilon=0.1, images=8)
    checked = cell.transfer.model_copy(update={"checks": (check,)})
    monkeypatch.setattr(transfer, "fit", no_training)
    list(transfer.run(transfer.prepare(checked, trained, CPU), trained))
    result = trained.result(checked)
    assert result["checks"][0]["ra"] <= result["test"]["ra"] + 1
    assert result["test"] == trained.result(cell.transfer)["test"]


def test_without_kept_weights_it_is_trained_again(trained, tmp_path):
    ledger = open_ledger(tmp_path)
    finish(read(), ledger, keep=False)
    assert not ledger.keys(type(weights(grid.transfers(read())[0].transfer)))
    finish(read(["evaluation.attack.steps=1"]), ledger, keep=False)
    for cell in grid.transfers(read()):
        assert ledger.result(cell.transfer)["test"] == trained.result(cell.transfer)["test"]


def test_damaged_weights_are_trained_again(trained, monkeypatch):
    cell = grid.transfers(read(["evaluation.attack.steps=3"]))[0]
    kept = trained.folder(weights(cell.transfer)) / "weights.safetensors"
    finish_sources(read(["evaluation.attack.steps=3"]), trained)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    reports = []
    monkeypatch.setattr(transfer_trial.tune, "report", reports.append)
    config = {"transfer": cell.transfer.model_dump_json(), "storage": str(trained.root)}
    transfer_trial.transfer_trial({**config, "keep": True})
    assert kept.read_bytes() == whole and reports[-1]["ends"]


def finish_sources(study, ledger):
    worker = Worker(ledger, Shard(), CPU)
    for cell in grid.thetas(study):
        list(run_chain(Chain(theta=cell.theta, plans=tuple(study.pruning.values())), worker))


def test_what_is_kept_is_the_network_that_was_judged(trained):
    for cell in grid.transfers(read()):
        net = transfer.trained_network(cell.transfer, trained, CPU)
        test = datasets.training_part(cell.transfer, CPU).test
        (batch,) = test.stream([torch.arange(len(test))], None)
        right = net(batch.pixels()).argmax(1) == batch.y
        stored = load_file(trained.folder(cell.transfer) / "correct.safetensors")
        assert torch.equal(right, stored["clean"])


def test_weights_take_the_place_of_what_the_mask_keeps(trained):
    dense, sparse = (
        (trained.folder(weights(cell.transfer)) / "weights.safetensors").stat().st_size
        for cell in grid.transfers(read())
        if cell.regime == "standard"
    )
    state = state_of(grid.transfers(read())[0].transfer, None, trained)
    prunable = sum(v.numel() for n, v in state.items() if n.endswith("weight") and v.dim() == 4)
    assert dense - sparse == pytest.approx(4 * 0.36 * prunable, rel=0.05)


def test_packing_is_undone_bit_for_bit_and_refuses_another_mask():
    generator = torch.Generator().manual_seed(0)
    mask = {"a": torch.rand(5, 7, generator=generator) < 0.3}
    state = {"a": torch.randn(5, 7, generator=generator) * mask["a"], "b": torch.arange(3)}
    found = unpacked(packed(state, mask), mask)
    assert all(torch.equal(found[name], state[name]) for name in state)
    with pytest.raises(ValueError, match="a"):
        unpacked(packed(state, mask), {"a": ~mask["a"]})


@pytest.mark.parametrize(
    "change", ["attack.steps=9", "protocol=worst_iterate", "attack.norm=l2", "batch_size=7"]
)
def test_how_test_images_are_judged_decides_no_weights(change):
    """The batch size decides the random starts of validation, where there are epochs to choose."""
    own, other = (grid.transfers(read(o)) for o in ([], [f"evaluation.{change}"]))
    for one, two in zip(own, other, strict=True):
        assert one.key != two.key
        chooses = one.regime == "adversarial" and change.startswith("batch_size")
        assert (one.weights_key == two.weights_key) != chooses


def test_what_is_trained_otherwise_has_other_weights():
    for change in ("evaluation.validation.steps=3", "downstream.0.regimes.adversarial.recipe.lr=1"):
        own, other = (grid.transfers(read(o)) for o in ([], [change]))
        different = [
            c.regime for c, d in zip(own, other, strict=True) if c.weights_key != d.weights_key
        ]
        assert set(different) == {"adversarial"}
    assert len({c.weights_key for c in grid.transfers(read())}) == len(grid.transfers(read()))


def test_a_theta_is_found_by_what_decided_it(trained):
    """Its one epoch is the last: validation chooses nothing."""
    other = grid.thetas(read(["evaluation.validation.steps=3"]))[0].theta
    assert list(chain.take_over([other], Worker(trained, Shard(), CPU))) == [other]
    assert isinstance(other, Theta) and trained.has(other)


WATCHED = (
    "pruning.imp.retraining.attack={kind: fgsm, epsilon: 0.1, alpha: 0.1}",
    "pruning.imp.retraining.containment={}",
)


@pytest.mark.parametrize(("overrides", "alike"), [((), True), (WATCHED, False)])
def test_validation_decides_masks_where_it_watches_the_re_training(overrides, alike):
    """Whatever theta's own training was chosen by."""
    one, two = (
        grid.tickets(read([*overrides, *change]))[-1].ticket
        for change in ((), ("evaluation.validation.steps=3",))
    )
    assert (trained_alike(one) == trained_alike(two)) is alike
