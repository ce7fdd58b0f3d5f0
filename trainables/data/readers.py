"""Datasets from their files, in memory as uint8 at their native size, split once and for all.

Each reader returns (train, val, test), the same on every call, and raises InputError for files that
are absent or not what they should be.
"""

import os
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.errors import InputError
from search_spaces.spec import Dataset
from trainables.data import own as users
from trainables.data.catalogue import (
    HOW_TO_GET,
    absent,
    channels_and_classes,
    file_sha256,
    place,
)
from trainables.data.folders import Folder, decode, folder
from trainables.data.images import Images, chunks, held_out, parted
from trainables.data.layouts import MOST_HELD_OUT, held_out_of, layout

Three = tuple[Images, Images, Images]

# Where validation starts in the training set, and that set's full size (Chen et al. 2022).
VALIDATION = {"cifar10": (45_000, 50_000), "cifar100": (45_000, 50_000), "svhn": (68_257, 73_257)}


def mnist_mini(dataset: Dataset) -> Three:
    """The embedded part of MNIST."""
    with (files("trainables") / "data" / "mnist_mini.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        train = _images(arrays["train_x"], arrays["train_y"])
        test = _images(arrays["test_x"], arrays["test_y"])
    val, rest = held_out(train, 1000)
    return rest, val, test


def digits(dataset: Dataset) -> Three:
    """scikit-learn's handwritten digits: most of them to train."""
    test, val, rest = held_out(_digits(), 500, 297)
    return rest, val, test


def digits_few(dataset: Dataset) -> Three:
    """scikit-learn's handwritten digits: few to train, most of them to test."""
    test, val, rest = held_out(_digits(), 1297, 200)
    return rest, val, test


def _digits() -> Images:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Sixteen grey levels (0 to 16) to bytes.
    x = np.round(bunch.images[..., None] * (255 / 16)).astype(np.uint8)
    return _images(x, bunch.target)


def torchvision_set(dataset: Dataset) -> Three:
    """CIFAR-10, CIFAR-100 or SVHN in torchvision's layout; nothing is read, let alone unpickled,
    before torchvision has checked its md5."""
    root = place(dataset)
    require(dataset)
    try:
        train, test = (published(dataset.name, root, part) for part in (True, False))
    except RuntimeError as error:
        raise InputError(
            f"dataset {dataset.title}: a file in {root} is not the published one (md5 differs): "
            f"remove it, then {HOW_TO_GET[dataset.name]}"
        ) from error
    cut, full = VALIDATION[dataset.name]
    if len(train) < full:
        cut = len(train) - held_out_of(len(train))
    return train[:cut], train[cut:], test


def require(dataset: Dataset) -> None:
    """Raises InputError if a file of a torchvision set is absent; does not read them."""
    for path in published_files(dataset.name, place(dataset)):
        if not path.is_file():
            raise absent(dataset, path)


def published_files(name: str, root: Path) -> list[Path]:
    """The files of a torchvision set below its data root."""
    kind = torchvision_class(name)
    if name == "svhn":
        return [root / kind.split_list[split][1] for split in ("train", "test")]
    names = [entry[0] for entry in kind.train_list + kind.test_list] + [kind.meta["filename"]]
    return [root / kind.base_folder / entry for entry in names]


def torchvision_class(name: str) -> Any:
    """torchvision's class for a set."""
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "svhn": datasets.SVHN}[name]


def published(name: str, root: Path, train: bool) -> Images:
    """One of the two published parts of a torchvision set, from its own files below `root`. Raises
    RuntimeError for files that are not the published ones."""
    kind = torchvision_class(name)
    if name == "svhn":
        read = kind(root, split="train" if train else "test", download=False)
        return _images(read.data.transpose(0, 2, 3, 1), read.labels)
    read = kind(root, train=train, download=False)
    return _images(read.data, np.asarray(read.targets))


def npz(dataset: Dataset) -> Three:
    """The user's own arrays; a tenth of train, balanced over classes, is held out as val. Holds at
    most two copies of a split while it reads."""
    channels_and_classes(dataset)  # Says what is wrong with them.
    path = place(dataset)
    if dataset.sha256 is not None and (sha256 := file_sha256(path)) != dataset.sha256:
        raise InputError(
            f"dataset {dataset.title}: {path} has sha256 {sha256}, not {dataset.sha256}: use the "
            "file that the study means, or correct the study"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _parted(arrays)
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        how = HOW_TO_GET["npz"]
        raise InputError(f"dataset {dataset.title}: {path}: {error}: {how}") from error


def own(dataset: Dataset) -> Three:
    """What the user's own function returns, held out as of an npz file."""
    channels_and_classes(dataset)  # Says what is wrong with it.
    if dataset.sha256 not in (None, sha256 := users.digest(dataset.name)):
        raise InputError(
            f"dataset {dataset.title}: {dataset.name} returns arrays of sha256 {sha256}, not "
            f"{dataset.sha256}: return the same on every call, or correct the study"
        )
    return _parted(users.arrays(dataset.name))


def _parted(arrays: Mapping[str, NDArray[Any]]) -> Three:
    train_y, test_y = (torch.from_numpy(arrays[y].astype(np.int64)) for y in ("train_y", "test_y"))
    places = parted(train_y, held_out_of(len(train_y)))
    val, rest = _gathered(arrays["train_x"], train_y, places)
    # A balanced order, so that a limit keeps all classes of files sorted by class.
    (test,) = _gathered(arrays["test_x"], test_y, parted(test_y))
    return rest, val, test


def _gathered(x: NDArray[np.uint8], y: Tensor, places: list[Tensor]) -> list[Images]:
    """Images (N, H, W, C) and their labels, in parts by their places."""
    parts = []
    for part in places:
        out = torch.empty(len(part), x.shape[3], *x.shape[1:3], dtype=torch.uint8)
        for some in chunks(len(part), x[0].size):
            out[some] = torch.from_numpy(x[part[some].numpy()]).permute(0, 3, 1, 2)
        parts.append(Images(out, y[part]))
    return parts


def folders(dataset: Dataset) -> tuple[Folder, Folder, Folder]:
    """Image folders, streamed. Without a validation split of their own, a tenth of train (at most
    10,000 images) is held out. All in a fixed balanced order, as files lie sorted by class."""
    root = place(dataset)
    sets = {
        split: folder(root, listing, dataset.size, dataset.view)
        for split, listing in layout(dataset).items()
    }
    (test,) = held_out(sets["test"])
    if "val" in sets:
        (rest,), (val,) = held_out(sets["train"]), held_out(sets["val"])
    else:
        count = min(held_out_of(len(sets["train"])), MOST_HELD_OUT)
        val, rest = held_out(sets["train"], count)
    return rest, val, test


def small_files(dataset: Dataset) -> Three:
    """Small photographs in files, each scaled to the data set's size as it is read, and kept in
    memory from then on; in a fixed balanced order, as files lie sorted by class."""
    root = place(dataset)

    def one(name: str) -> NDArray[np.uint8]:
        return decode(root / name, dataset.size, "resize", None)

    def all_of(listing: Sequence[tuple[str, int]]) -> Images:
        x = np.empty((len(listing), 3, dataset.size, dataset.size), np.uint8)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for row, image in enumerate(pool.map(one, (name for name, _ in listing))):
                x[row] = image
        labels = torch.tensor([label for _, label in listing])
        return held_out(Images(torch.from_numpy(x), labels))[0]

    listed = layout(dataset)
    return all_of(listed["train"]), all_of(listed["val"]), all_of(listed["test"])


def _images(x: NDArray[np.uint8], y: NDArray[Any]) -> Images:
    """(N, H, W, C) arrays as they are stored in files."""
    channels_first = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    return Images(channels_first, torch.from_numpy(y.astype(np.int64)))
