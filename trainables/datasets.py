"""Images and labels, split into train, validation and test. Pixels are uint8 here, [0, 1] after
`pixels`; choices read validation images, test images are for the end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from search_spaces.spec import Augmentation, Dataset, DatasetName, Transfer
from trainables.seeding import generator


@dataclass(frozen=True)
class Images:
    """x: (N, C, H, W) uint8; y: (N,) int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Tensor | slice) -> "Images":
        return Images(self.x[index], self.y[index])

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Splits:
    """One dataset: three disjoint splits, number of classes, training pixels' mean and std."""

    train: Images
    val: Images
    test: Images
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to(self, device: torch.device | str) -> "Splits":
        train, val, test = (part.to(device) for part in (self.train, self.val, self.test))
        return replace(self, train=train, val=val, test=test)


def pixels(x: Tensor) -> Tensor:
    """uint8 images to float32 in [0, 1], laid out for fast convolutions."""
    return x.to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)


def augment(x: Tensor, how: Augmentation, rng: torch.Generator) -> Tensor:
    """Random crops and flips of a whole batch (N, C, H, W), drawn from `rng` on x's device."""
    n, _, height, width = x.shape
    if how.crop:
        pad = how.crop
        down, right = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=rng, device=x.device)
        rows = down + torch.arange(height, device=x.device)
        columns = right + torch.arange(width, device=x.device)
        each = torch.arange(n, device=x.device)
        padded = F.pad(x, (pad,) * 4).permute(0, 2, 3, 1)
        x = padded[each[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if how.flip:
        mirrored = torch.rand(n, 1, 1, 1, generator=rng, device=x.device) < 0.5
        x = torch.where(mirrored, x.flip(-1), x)
    return x


# Two datasets stay in memory: a reused process sees the same ones again and again. Tensors in a
# cached value are shared, and nothing writes to them.
@lru_cache(maxsize=2)
def splits(dataset: Dataset) -> Splits:
    """The splits of a dataset, the same for every seed, brought to its size and limit."""
    train, val, test = (
        _sized(part[: dataset.limit], dataset.size) for part in READERS[dataset.name]()
    )
    values = train.x.to(torch.float64) / 255
    # A floor keeps constant channels from dividing by zero.
    std = values.std(dim=(0, 2, 3)).clamp_min(1e-3)
    return Splits(
        train,
        val,
        test,
        classes=int(max(part.y.max() for part in (train, val, test))) + 1,
        mean=tuple(values.mean(dim=(0, 2, 3)).tolist()),
        std=tuple(std.tolist()),
    )


def training_part(transfer: Transfer) -> Splits:
    """A transfer's splits, with its fraction of the training images: balanced over classes and
    drawn from the transfer's seed, or the first ones as they lie."""
    whole = splits(transfer.dataset)
    count = max(1, round(transfer.fraction * len(whole.train)))
    if count == len(whole.train):
        return whole
    if transfer.subset == "first_n":
        part = whole.train[:count]
    else:
        rng = generator(transfer.seed, "fraction")
        part = whole.train[_balanced(whole.train.y, rng)[:count]]
    return replace(whole, train=part)


def _balanced(labels: Tensor, rng: torch.Generator) -> Tensor:
    """A random order of all images in which every beginning is balanced over classes."""
    order = torch.randperm(len(labels), generator=rng)
    turn = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        places = order[labels[order] == label]
        turn[places] = torch.arange(len(places), dtype=torch.float64) / len(places)
    return order[turn[order].argsort(stable=True)]


def _sized(images: Images, size: int) -> Images:
    if images.x.shape[-1] == size:
        return images
    x = F.interpolate(
        images.x.to(torch.float32),
        size=(size, size),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return Images(x.round_().clamp_(0, 255).to(torch.uint8), images.y)


def _images(x: NDArray[np.uint8], y: NDArray[np.int64]) -> Images:
    """(N, H, W, C) arrays as they are stored in files."""
    channels_first = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    return Images(channels_first, torch.from_numpy(y.astype(np.int64)))


def _held_out(images: Images, *counts: int) -> list[Images]:
    """Parts of the given sizes and the rest, each balanced over classes; the same on every call."""
    order = _balanced(images.y, generator(0, "split"))
    return [images[part] for part in order.split([*counts, len(images) - sum(counts)])]


def _mnist_mini() -> tuple[Images, Images, Images]:
    with (files("trainables") / "data" / "mnist_mini.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        train = _images(arrays["train_x"], arrays["train_y"])
        test = _images(arrays["test_x"], arrays["test_y"])
    val, rest = _held_out(train, 1000)
    return rest, val, test


def _digits() -> tuple[Images, Images, Images]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Sixteen grey levels (0 to 16) to bytes.
    x = np.round(bunch.images[..., None] * (255 / 16)).astype(np.uint8)
    test, val, rest = _held_out(_images(x, bunch.target), 500, 297)
    return rest, val, test


READERS: dict[DatasetName, Callable[[], tuple[Images, Images, Images]]] = {
    "mnist-mini": _mnist_mini,
    "digits": _digits,
}
