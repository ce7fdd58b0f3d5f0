"""Data: splits that stay apart, balanced parts, augmentation that only moves pixels."""

import pytest
import torch

from search_spaces.spec import Augmentation, Dataset
from trainables.datasets import _balanced, augment, pixels, splits
from trainables.seeding import generator


@pytest.mark.parametrize(
    ("name", "sizes"), [("mnist-mini", (7500, 1000, 2000)), ("digits", (1000, 297, 500))]
)
def test_embedded_data(name, sizes):
    data = splits(Dataset(name=name, size=16))
    assert (len(data.train), len(data.val), len(data.test)) == sizes
    assert data.classes == 10
    for part in (data.train, data.val, data.test):
        assert part.x.shape[1:] == (1, 16, 16)
        assert part.x.dtype == torch.uint8
        shares = torch.bincount(part.y, minlength=10) / len(part)
        assert (shares - 0.1).abs().max() < 0.01


@pytest.mark.parametrize("name", ["mnist-mini", "digits"])
def test_splits_are_apart(name):
    data = splits(Dataset(name=name, size=28))
    parts = [{bytes(x.numpy().tobytes()) for x in p.x} for p in (data.train, data.val, data.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_digits_keep_scikit_learns_pixels():
    from sklearn.datasets import load_digits

    data = splits(Dataset(name="digits", size=8))
    theirs = {
        tuple((image * (255 / 16)).round().ravel().astype(int)) for image in load_digits().images
    }
    ours = {tuple(x.ravel().tolist()) for x in data.train.x}
    assert ours <= theirs


def test_normalisation_is_the_training_pixels():
    data = splits(Dataset(name="digits", size=16))
    x = pixels(data.train.x)
    assert x.min() >= 0 and x.max() <= 1
    assert data.mean[0] == pytest.approx(x.mean().item(), abs=1e-5)
    assert data.std[0] == pytest.approx(x.std().item(), abs=1e-5)


def test_every_beginning_of_the_balanced_order_is_balanced():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    order = _balanced(labels, generator(0, "test"))
    assert sorted(order.tolist()) == list(range(100))
    assert torch.bincount(labels[order[:10]]).tolist() == [5, 3, 2]
    assert not torch.equal(order, _balanced(labels, generator(1, "test")))


def test_augmentation_moves_and_mirrors_pixels():
    x = torch.zeros(200, 1, 9, 9)
    x[:, 0, 4, 4] = 1
    x[:, 0, 4, 5] = 2
    out = augment(x, Augmentation(crop=2, flip=True), generator(0, "test"))
    assert out.sum() == x.sum()
    rows, columns = (out[:, 0] == 1).nonzero()[:, 1:].T
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    mirrored = ((out[:, 0] == 2).nonzero()[:, 2] < columns).float().mean()
    assert 0.4 < mirrored < 0.6


def test_augmentation_off_changes_nothing():
    x = torch.rand(3, 1, 8, 8)
    assert augment(x, Augmentation(), generator(0, "test")) is x
