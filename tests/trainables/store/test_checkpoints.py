"""An interrupted training ends bit for bit as an undisturbed one; damage is seen, never used."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.regimes import Attack, Containment, MultiStep, Recipe, Regime
from search_spaces.spec import Augmentation
from trainables.pruning.masks import ones, prune_by_magnitude
from trainables.store.checkpoints import TrainingCheckpoint
from trainables.training import loop as training
from trainables.training.loop import Epoch, fit
from trainables.training.overfitting import Signals

EPOCHS = 5
FGSM = Attack(kind="fgsm", epsilon=0.1, alpha=0.125)
PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=2)


def regime(attack, on_collapse="continue"):
    recipe = Recipe(
        epochs=EPOCHS, batch_size=16, lr=0.05, schedule=MultiStep(kind="multistep", milestones=(3,))
    )
    watched = attack is not None and attack.kind == "fgsm"
    containment = Containment(probe_images=16, on_collapse=on_collapse) if watched else None
    return Regime(recipe=recipe, attack=attack, containment=containment)


def numbers(epoch):
    return epoch.number, epoch.loss, epoch.accuracy, epoch.lr, epoch.alpha, epoch.val, epoch.signals


def without_seconds(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def run(net, stripes, evaluation, how, checkpoint, epochs=EPOCHS, mask=None):
    """Trains a copy of `net`, up to the start of epoch `epochs` + 1."""
    model = copy.deepcopy(net)

    def start(progress):
        return fit(
            model,
            stripes,
            how,
            3,
            evaluation,
            mask,
            Augmentation(crop=1, flip=True),
            resume=progress,
        )

    done = []
    for epoch, records in checkpoint.epochs(start, EPOCHS):
        done.append((epoch, records))
        if epoch.number == epochs + 1:  # Progress is kept when the next epoch is asked for.
            break
    return model, done


@pytest.mark.parametrize("attack", [None, FGSM, PGD])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_any_epoch_can_be_gone_on_from(net, stripes, evaluation, tmp_path, attack, after):
    how, mask = regime(attack), prune_by_magnitude(dict(net.named_parameters()), ones(net), 200)
    whole_net, whole = run(
        net, stripes, evaluation, how, TrainingCheckpoint(tmp_path / "a", 1e9), mask=mask
    )
    checkpoint = TrainingCheckpoint(tmp_path / "b", seconds=0)
    run(net, stripes, evaluation, how, checkpoint, after, mask)
    progress, records = checkpoint.load()
    assert progress.epoch == len(records) == after
    other = copy.deepcopy(net)
    with torch.no_grad():  # What the new process starts with must not matter.
        other.fc.weight += 1
    new_net, new = run(other, stripes, evaluation, how, checkpoint, mask=mask)
    assert [numbers(e) for e, _ in new] == [numbers(e) for e, _ in whole[after:]]
    assert without_seconds(new[-1][1]) == without_seconds(whole[-1][1])
    assert same(new_net.state_dict(), whole_net.state_dict())
    best, expected = new[-1][0].best, whole[-1][0].best
    assert (best.epoch, best.scores) == (expected.epoch, expected.scores)
    assert same(best.state, expected.state)


def test_a_lowered_alpha_stays_lowered(net, stripes, evaluation, tmp_path, monkeypatch):
    """The probe is made to see a collapse at epoch 2; the return to the best state comes after."""
    seen = iter([(0.9, 0.9), (0.9, 0.1)] + [(0.9, 0.9)] * 20)

    def probe(*_, **__):
        fgsm, pgd = next(seen)
        return Signals(fgsm=fgsm, pgd=pgd, cosine=1.0)

    monkeypatch.setattr(training, "probe", probe)
    how = regime(FGSM, "lower_alpha")
    how = how.model_copy(update={"containment": how.containment.model_copy(update={"patience": 1})})
    whole_net, whole = run(net, stripes, evaluation, how, TrainingCheckpoint(tmp_path / "a", 1e9))
    assert [e.alpha for e, _ in whole] == [0.125, 0.125, 0.0625, 0.0625, 0.0625]
    for after in (2, 3):
        seen = iter([(0.9, 0.9), (0.9, 0.1)] + [(0.9, 0.9)] * 20)
        checkpoint = TrainingCheckpoint(tmp_path / f"b{after}", seconds=0)
        run(net, stripes, evaluation, how, checkpoint, after)
        new_net, new = run(net, stripes, evaluation, how, checkpoint)
        assert [e.alpha for e, _ in new] == [0.0625] * (EPOCHS - after)
        assert same(new_net.state_dict(), whole_net.state_dict())


def test_progress_is_kept_now_and_then_and_never_after_the_end(net, stripes, evaluation, tmp_path):
    rare = TrainingCheckpoint(tmp_path / "rare", seconds=1e9)
    run(net, stripes, evaluation, regime(None), rare)
    assert rare.load() is None
    often = TrainingCheckpoint(tmp_path / "often", seconds=0)
    run(net, stripes, evaluation, regime(None), often)
    assert often.load()[0].epoch == EPOCHS - 1
    often.remove()
    assert list(tmp_path.iterdir()) == []
    other_rank = TrainingCheckpoint(tmp_path / "rank", seconds=0, writes=False)
    run(net, stripes, evaluation, regime(None), other_rank)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damaged_file_is_used(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("progress") / "x"
    checkpoint = TrainingCheckpoint(path, seconds=0)
    tensors = {"w": torch.arange(6.0).reshape(2, 3)}
    momentum = {"w": -tensors["w"]}
    progress = training.Progress(2, tensors, momentum, None, (), None)
    checkpoint.save(progress, [{"number": 1}, {"number": 2}])
    found, records = checkpoint.load()
    assert (found.epoch, records) == (2, [{"number": 1}, {"number": 2}])
    assert same(found.state, tensors) and same(found.momentum, momentum)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[place:]
    path.write_bytes(bytes(content))
    assert checkpoint.load() is None
    assert not path.exists()
    assert path.with_suffix(".damaged").exists()


@pytest.mark.parametrize("epoch", [1.0, 20.0, 31.0, 50.0, 300.0])
def test_never_is_more_than_a_minute_or_an_epoch_unkept(tmp_path, monkeypatch, epoch):
    now = 0.0
    monkeypatch.setattr("trainables.store.checkpoints.time.monotonic", lambda: now)
    checkpoint, kept, unkept = TrainingCheckpoint(tmp_path / "x"), [0], []
    monkeypatch.setattr(TrainingCheckpoint, "save", lambda self, state, records: kept.append(state))

    def training(_):
        nonlocal now
        for number in range(1, 200):
            now += epoch
            unkept.append(number - kept[-1])
            yield Epoch(
                number, 0.0, 0.0, 0.0, None, epoch, None, None, False, None, lambda n=number: n
            )

    for _ in checkpoint.epochs(training, 199):
        pass
    assert max(unkept) * epoch <= max(60, epoch)
    # And no oftener than that asks for: writing takes time too.
    assert len(kept) <= 1 + 199 * epoch / max(30, epoch)
