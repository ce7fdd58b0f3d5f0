"""Data: splits that stay apart, balanced parts, views, augmentation that only moves pixels."""

import math

import pytest
import torch

from search_spaces.spec import Augmentation, Dataset
from trainables.data import datasets
from trainables.data.datasets import splits, splits_on, training_part
from trainables.data.images import (
    Images,
    Splits,
    augment,
    balanced,
    held_out,
    pixels,
    random_boxes,
    still_box,
)
from trainables.runtime.seeding import generator


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist-mini", (7500, 1000, 2000)),
        ("digits", (1000, 297, 500)),
        ("digits-few", (300, 200, 1297)),
    ],
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


@pytest.mark.parametrize("name", ["mnist-mini", "digits", "digits-few"])
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


def test_every_beginning_of_the_balanced_order_isbalanced():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    order = balanced(labels, generator(0, "test"))
    assert sorted(order.tolist()) == list(range(100))
    assert torch.bincount(labels[order[:10]]).tolist() == [5, 3, 2]
    assert not torch.equal(order, balanced(labels, generator(1, "test")))


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


def class_by_class(labels, seed):
    """The balanced order as first defined: class by class."""
    order = torch.randperm(len(labels), generator=generator(seed, "test"))
    turn = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        places = order[labels[order] == label]
        turn[places] = torch.arange(len(places), dtype=torch.float64) / len(places)
    return order[turn[order].argsort(stable=True)]


@pytest.mark.parametrize("seed", range(5))
def test_the_balanced_order_by_its_definition(seed):
    labels = torch.randint(0, 7, (200,), generator=torch.Generator().manual_seed(seed)) * 2
    assert torch.equal(balanced(labels, generator(seed, "test")), class_by_class(labels, seed))


def test_held_out_parts_are_apart_and_fixed():
    images = Images(torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1), torch.arange(40) % 4)
    val, rest = held_out(images, 8)
    assert val.y.bincount().tolist() == [2] * 4
    assert sorted([*val.x.flatten().tolist(), *rest.x.flatten().tolist()]) == list(range(40))
    assert torch.equal(held_out(images, 8)[0].x, val.x)


@pytest.fixture
def of_hundred(monkeypatch):
    """A downstream with 100 training images, sorted by class, four classes."""
    x = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1)
    train = Images(x, torch.arange(100) // 25)
    whole = Splits(train, train, train, 4, (0.5,), (0.5,))
    monkeypatch.setattr(datasets, "splits_on", lambda dataset, device: whole)

    def part(**fields):
        class Wanted:
            dataset, fraction, subset, seed = None, 1.0, "balanced", 0

        for name, value in fields.items():
            setattr(Wanted, name, value)
        return training_part(Wanted, torch.device("cpu")).train

    return part


def test_balanced_fractions_come_from_the_seed(of_hundred):
    part = of_hundred(fraction=0.12)
    assert part.y.bincount().tolist() == [3] * 4
    assert torch.equal(part.x, of_hundred(fraction=0.12).x)
    assert not torch.equal(part.x, of_hundred(fraction=0.12, seed=1).x)
    assert sorted(of_hundred(fraction=0.04).y.tolist()) == [0, 1, 2, 3]
    assert len(of_hundred(fraction=0.001)) == 1
    assert len(of_hundred()) == 100


def test_first_n_are_the_first(of_hundred):
    first = of_hundred(fraction=0.3, subset="first_n", seed=5)
    assert first.x.flatten().tolist() == list(range(30))


def test_a_set_is_copied_to_a_device_once():
    device = torch.device("meta")  # A device whose tensors are not the CPU's, on any machine.
    splits_on.cache_clear()
    dataset = Dataset(name="digits", size=8)
    data = splits_on(dataset, device)
    parts = (data.train, data.val, data.test)
    assert all(part.x.device == part.y.device == device for part in parts)
    assert all(part.x.dtype == torch.uint8 for part in parts)
    assert splits_on(dataset, device) is data
    here = splits_on(dataset, torch.device("cpu"))
    assert here.train.x.data_ptr() == splits(dataset).train.x.data_ptr()


def ramp(height, width):
    """One image whose pixel at row r, column c is 8 r (first channel) and 8 c (second)."""
    rows = (torch.arange(height) * 8).view(1, 1, -1, 1).expand(1, 1, height, width)
    columns = (torch.arange(width) * 8).view(1, 1, 1, -1).expand(1, 1, height, width)
    return torch.cat([rows, columns], 1).to(torch.uint8)


def test_whole_views_draw_nothing():
    images, rng = Images(ramp(8, 8), torch.zeros(1)), generator(0, "test")
    before = rng.get_state()
    assert torch.equal(images.pixels(rng), pixels(images.x))
    assert torch.equal(rng.get_state(), before)


def test_the_central_view_by_hand():
    # 16 x 16: the central 14 x 14, seen at 7 points a side, two pixels apart. The first point is
    # at 2.0 from the outer edge, half way between the pixels 1 and 2 (centres 1.5 and 2.5).
    x = Images(ramp(16, 16), torch.zeros(1), crop=7).pixels()
    expected = 8 * (1.5 + 2 * torch.arange(7)) / 255
    assert x.shape == (1, 2, 7, 7)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x[0, 0], expected[:, None].expand(7, 7), atol=1e-6)
    assert torch.allclose(x[0, 1], expected[None, :].expand(7, 7), atol=1e-6)
    # 16 x 24: the same rows; columns start four pixels further to the right.
    x = Images(ramp(16, 24), torch.zeros(1), crop=7).pixels()
    assert torch.allclose(x[0, 0], expected[:, None].expand(7, 7), atol=1e-6)
    assert torch.allclose(x[0, 1], (expected + 32 / 255)[None, :].expand(7, 7), atol=1e-6)


def test_a_whole_box_is_the_image():
    from trainables.data.images import cut

    x = pixels(ramp(12, 12))
    assert torch.allclose(cut(x, torch.tensor([[0.0, 0, 12, 12]]), 12), x, atol=1e-6)
    # Rows 2 to 8 and columns 3 to 9, pixel by pixel.
    part = cut(x, torch.tensor([[3.0, 2, 6, 6]]), 6)
    assert torch.allclose(part, x[:, :, 2:8, 3:9], atol=1e-6)


def test_constant_images_stay_constant():
    x = torch.tensor([0, 3, 100, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 10, 14)
    images = Images(x, torch.zeros(4), crop=9)
    for rng in (None, generator(0, "test")):
        view = images.pixels(rng)
        assert view.shape == (4, 3, 9, 9)
        assert view.min() >= 0 and view.max() <= 1
        assert torch.allclose(view, (x[:, :, :1, :1] / 255).expand(4, 3, 9, 9), atol=1e-6)


def test_random_views_come_from_the_generator():
    images = Images(torch.randint(0, 256, (6, 3, 12, 12), dtype=torch.uint8), torch.zeros(6), 8)
    first, same, other = (images.pixels(generator(seed, "test")) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (60, 40)])
def test_random_boxes_are_torchvisions(height, width):
    left, top, w, h = random_boxes(20_000, height, width, generator(0, "test")).double().T
    assert left.min() >= 0 and top.min() >= 0
    assert (left + w).max() <= width + 1e-4 and (top + h).max() <= height + 1e-4
    area, aspect = w * h / (height * width), w / h
    assert 0.08 - 1e-6 <= area.min() < 0.085
    # The largest box in 60 x 40 has aspect 3/4: 8/9 of the image.
    largest = 1 if height == width else 8 / 9
    assert 0.95 * largest < area.max() <= largest + 1e-6
    assert 3 / 4 - 1e-6 <= aspect.min() < 0.76 and 1.32 < aspect.max() <= 4 / 3 + 1e-6
    if height == width:
        assert abs(aspect.log().mean()) < 0.005
        # Boxes beyond the border are drawn anew, so large areas are rarer: torchvision's mean.
        assert area.mean() == pytest.approx(torchvision_area(height), abs=0.01)


def test_wide_crops_are_torchvisions_too():
    """RandomResizedCrop(scale=(0.75, 1.33)): what is larger than the image is drawn anew."""
    boxes = random_boxes(20_000, 32, 32, generator(0, "test"), "wide_crop").double()
    areas = boxes[:, 2] * boxes[:, 3] / 32**2
    assert 0.75 - 1e-6 <= areas.min() < 0.755 and areas.max() <= 1 + 1e-6
    assert areas.mean() == pytest.approx(torchvision_area(32, (0.75, 1.33)), abs=0.005)


def test_wide_crops_are_evaluated_whole():
    x = ramp(12, 12)
    images = Images(x, torch.zeros(len(x)), crop=12, view="wide_crop")
    assert torch.allclose(images.pixels(), pixels(x), atol=1e-6)
    assert not torch.allclose(images.pixels(generator(0, "test")), pixels(x), atol=1e-3)
    assert images[:1].view == images.to("cpu").view == "wide_crop"


def torchvision_area(side, scale=(0.08, 1.0)):
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image, areas = torch.empty(1, side * 32, side * 32), []
    for _ in range(4000):
        _, _, h, w = RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3))
        areas.append(h * w / (side * 32) ** 2)
    return sum(areas) / len(areas)


def test_boxes_that_never_fit_become_the_largest_central_one():
    # 40 times as wide as high: only boxes of less than a thirtieth of the area would fit.
    boxes = random_boxes(3000, 10, 400, generator(0, "test"))
    left, top, w, h = boxes.T
    fallback = (h == 10) & ((w - 10 * 4 / 3).abs() < 1e-4)
    assert fallback.all()
    assert torch.allclose(left[fallback], torch.tensor((400 - 10 * 4 / 3) / 2))
    assert (top + h).max() <= 10 + 1e-5
    assert math.isclose(still_box(16, 24)[2], 14)
