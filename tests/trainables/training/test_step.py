"""A step: gradients of micro-batches add up to the batch's; BatchNorm sees each by itself."""

import copy
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from search_spaces.keys import key
from search_spaces.regimes import Attack, Recipe, Regime
from tests.conftest import striped
from trainables.pruning.masks import factors, ones, prune_by_magnitude
from trainables.runtime.seeding import generator
from trainables.training.loop import fit, snapshot
from trainables.training.ranks import Shard
from trainables.training.step import gradients, micro_batches, train_step

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=3)


def regime(attack=None, mode="train", micro_batch=None, epochs=3):
    recipe = Recipe(epochs=epochs, batch_size=16, micro_batch=micro_batch, lr=0.05)
    return Regime(recipe=recipe, attack=attack, **({"attack_mode": mode} if attack else {}))


def without_batchnorm(net):
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(1, child.num_features))
    return net


@pytest.mark.parametrize(
    ("images", "size", "sizes"),
    [
        (16, None, [16]),
        (16, 32, [16]),
        (16, 8, [8, 8]),
        (16, 6, [6, 6, 4]),
        (16, 5, [5, 5, 6]),  # not 5, 5, 5, 1
        (3, 2, [3]),
        (4, 2, [2, 2]),
    ],
)
def test_sizes_of_micro_batches(images, size, sizes):
    assert micro_batches(images, size) == sizes
    assert sum(sizes) == images


@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize(("attack", "mode"), [(None, "train"), (PGD, "train"), (PGD, "eval")])
def test_gradients_of_micro_batches_add_up_to_the_batchs(net, attack, mode, size):
    net = without_batchnorm(net).double().train()
    rng = torch.Generator().manual_seed(1)
    x, y = torch.rand(16, 1, 8, 8, generator=rng, dtype=torch.float64), torch.arange(16) % 2
    x = x.contiguous(memory_format=torch.channels_last)

    def of(micro_batch):
        how = regime(attack, mode, micro_batch)
        loss, right = gradients(net, x, y, how, generator(0, "x"))
        return loss, right, [p.grad.clone() for p in net.parameters()]

    loss, right, whole = of(None)
    parted_loss, parted_right, parted = of(size)
    assert parted_right == right
    torch.testing.assert_close(parted_loss, loss, rtol=1e-6, atol=1e-6)
    for one, other in zip(whole, parted, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)
    if attack is None:
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), whole, strict=True))


def test_a_step_is_sgds_with_the_mask_after_it(net):
    """Against the update written out: v = 0.9 v + g + wd w; w = (w - lr v) mask."""
    net.train()
    mask = prune_by_magnitude(dict(net.named_parameters()), ones(net), 100)
    kept = factors(net, mask)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=0.01)
    x, y = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 2
    other = copy.deepcopy(net)
    velocity = {name: torch.zeros_like(p) for name, p in other.named_parameters()}
    for _ in range(3):
        loss, right = train_step(net, optimizer, kept, x, y, regime(), generator(0, "x"))
        other.zero_grad()
        expected = F.cross_entropy(logits := other(x), y)
        expected.backward()
        assert loss.item() == expected.item()
        assert right.item() == (logits.argmax(1) == y).sum().item()
        with torch.no_grad():
            for name, p in other.named_parameters():
                velocity[name] = 0.9 * velocity[name] + p.grad + 0.01 * p
                p -= 0.1 * velocity[name]
                if name in mask:
                    p *= mask[name]
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-5, atol=1e-7)
        if name in mask:
            assert not value[~mask[name]].any()


def test_whole_trainings_without_batchnorm_agree(net, stripes):
    net = without_batchnorm(net)
    trained = []
    for size in (None, 4):
        model = copy.deepcopy(net)
        list(fit(model, stripes, regime(micro_batch=size), 0))
        trained.append(snapshot(model))
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-4, atol=1e-5)


def test_with_batchnorm_micro_batches_are_another_training_with_another_key(net, stripes):
    losses = [
        next(fit(copy.deepcopy(net), stripes, regime(micro_batch=size), 0)).loss
        for size in (None, 8)
    ]
    assert losses[0] != losses[1]
    assert key(regime()) != key(regime(micro_batch=8))


def test_unset_it_is_no_part_of_a_key():
    assert key(regime(micro_batch=None)) == key(regime()) == "b767854d959cf75f"


def test_a_micro_batch_of_one_image_is_refused():
    with pytest.raises(ValidationError):
        Recipe(epochs=1, lr=0.1, micro_batch=1)


def _rank(rank, folder, net, stripes):
    """One of two processes: a training in micro-batches."""
    from torch import distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    net = copy.deepcopy(net)  # What is handed over lies in memory that both share.
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    model = DistributedDataParallel(net)
    list(fit(model, stripes, regime(epochs=1, micro_batch=4), 0, shard=Shard(rank, 2)))
    torch.save(snapshot(net), f"{folder}/{rank}")
    dist.destroy_process_group()


def test_two_processes_in_micro_batches_train_the_network_of_one(net, stripes, tmp_path):
    """The last batch has 7 images: a rank with 4 of them weighs more than one with 3."""
    net = without_batchnorm(net)
    stripes = replace(stripes, train=striped(71, 0))
    alone = copy.deepcopy(net)
    torch.multiprocessing.spawn(_rank, (str(tmp_path), net, stripes), nprocs=2)
    list(fit(alone, stripes, regime(epochs=1), 0))
    first, second = (torch.load(tmp_path / str(rank), weights_only=True) for rank in (0, 1))
    for name, value in snapshot(alone).items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)
