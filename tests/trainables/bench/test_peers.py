"""What the bench compares is the same work: the same images from the same start, the same masks."""

import pytest
import torch

from search_spaces.regimes import Attack
from trainables.bench import ours as bench_work
from trainables.bench import peers
from trainables.bench.contender import count, pruned_by_torch
from trainables.bench.libraries import LIBRARIES
from trainables.bench.ours import CASES, Work
from trainables.models.anatomy import prunable
from trainables.pruning import masks
from trainables.runtime.seeding import generator
from trainables.training.attacks import perturb, uniform

PGD = Attack(kind="pgd", epsilon=8 / 255, alpha=2 / 255, steps=5)
WORK = Work("quickstart", "adversarial", 8, 16, "cpu")


@pytest.fixture
def seen():
    net, _ = bench_work.network(WORK)
    there = bench_work.images(WORK)
    return net.eval(), there.pixels(), there.y


def theirs(name, net, x, y):
    """A peer's attacked images from the start that seed 0 gives ours."""
    start = uniform(x, PGD.epsilon, generator(0, "start"))
    if name == "paper":
        return peers.published_attack(net, x, y, PGD, start)
    pytest.importorskip(name)
    return LIBRARIES[name](net, x, y, PGD)


@pytest.mark.parametrize("training", [True, False])
def test_the_published_loop_finds_our_images(seen, training):
    net, x, y = seen
    net.train(training)
    ours = perturb(net, x, y, PGD, generator(0, "start"))
    published = theirs("paper", net, x, y)
    same = (ours - published).abs() < 1e-5
    # Rounding turns the sign of a gradient that is nearly zero.
    assert same.float().mean() > 0.999
    assert (ours - x).abs().max() > 0.9 * PGD.epsilon


@pytest.mark.parametrize("name", list(LIBRARIES))
def test_a_librarys_attack_is_as_strong_as_ours(seen, name, monkeypatch):
    """Each draws its own start: the images differ, their losses hardly do."""
    net, x, y = seen
    ours = perturb(net, x, y, PGD, generator(0, "start"))
    other = theirs(name, net, x, y)
    assert (other - x).abs().max() <= PGD.epsilon + 1e-6
    loss = [torch.nn.functional.cross_entropy(net(z), y).item() for z in (x, ours, other)]
    assert loss[1] > loss[0]
    assert loss[2] - loss[0] == pytest.approx(loss[1] - loss[0], rel=0.05)


def test_torchattacks_takes_our_steps_from_our_start(seen, monkeypatch):
    pytest.importorskip("torchattacks")
    net, x, y = seen
    start = uniform(x, PGD.epsilon, generator(0, "start"))
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, *_, **__: self.copy_(start))
    other = theirs("torchattacks", net, x, y)
    monkeypatch.undo()
    ours = perturb(net, x, y, PGD, generator(0, "start"))
    assert ((ours - other).abs() < 1e-5).float().mean() > 0.999


@pytest.mark.parametrize("operation", ["standard", "fast_adversarial", "adversarial", "evaluate"])
@pytest.mark.parametrize("name", ["ours", "paper", "unfrozen", *LIBRARIES])
def test_everyone_does_every_piece_of_work(name, operation):
    from trainables.bench.contender import piece

    if name in LIBRARIES:
        pytest.importorskip(name)
    question = {"case": "quickstart", "operation": operation, "batch": 4, "images": 8}
    action, amount = piece(name, question, torch.device("cpu"))
    action()
    action()
    assert amount == 8


def test_the_published_loop_keeps_pruned_weights_at_zero():
    net, mask = bench_work.network(WORK)
    peers.prune_as_published(net, mask)
    x = torch.rand(2, 1, 16, 16)
    net(x).sum().backward()
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            assert torch.equal(module.weight != 0, mask[f"{name}.weight"])
            assert module.weight_orig.grad is not None


def test_torch_prunes_the_weights_that_we_prune(net):
    weights = {n: p.detach() for n, p in net.named_parameters() if n in prunable(net)}
    full = masks.ones(net)
    keep = round(0.8 * masks.counts(full)[1])
    ours = masks.prune_by_magnitude(weights, full, keep)
    torchs = pruned_by_torch(weights, masks.counts(full)[1] - keep)
    assert all(torch.equal(ours[name], torchs[name].bool()) for name in full)
    assert masks.counts(ours)[0] == keep


def test_operations_by_hand():
    """The quickstart's network on one image, forward, in multiplications and additions: its
    convolutions and its head, at 8, 4 and 2 pixels."""
    stage = [8 * 8 * 16 * 9 * (1 + 16 + 16), 4 * 4 * 32 * (9 * 16 + 9 * 32 + 16)]
    stage.append(2 * 2 * 64 * (9 * 32 + 9 * 64 + 32))
    forward = 2 * (sum(stage) + 64 * 10)
    stem = 2 * 8 * 8 * 16 * 9
    found = {
        op: count("quickstart", op)["operations"] for op in ("standard", "adversarial", "evaluate")
    }
    # Training: once forward, once to the weights, once to what is below the stem.
    assert found["standard"] == 3 * forward - stem
    assert found["adversarial"] == found["standard"] + 10 * 2 * forward
    assert found["evaluate"] == 2 * forward + 20 * 2 * forward


def test_every_case_can_be_counted():
    assert all(count(case, "standard")["bytes"] > 0 for case in CASES)
