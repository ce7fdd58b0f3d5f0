"""Image folders as they come: which files belong to which split, and their labels.

Each layout returns {split: [(file name relative to root, label), ...]} with train and test, and
val where the data has a validation split of its own.
"""

import csv
import os
import zipfile
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from search_spaces.errors import InputError
from search_spaces.own import is_own
from search_spaces.spec import Dataset
from trainables.data import own, pairs
from trainables.data.catalogue import (
    CHANNELS_AND_CLASSES,
    PAIRS,
    SPLIT_SIZES,
    absent,
    class_names,
    place,
)
from trainables.data.image_files import Seen, walk

Listing = list[tuple[str, int]]

SHARE = 0.1
"""Of train, held out as validation images where the data has none."""
# Ten images a class of ImageNet choose an epoch well enough; a tenth would take as long as a test.
MOST_HELD_OUT = 10_000


class Sizes(NamedTuple):
    """Images in each split."""

    train: int
    val: int
    test: int


@lru_cache(maxsize=64)
def split_sizes(dataset: Dataset) -> Sizes:
    """Images in each split of a dataset under its limit, without reading pixels: from the
    catalogue, an npz file's labels or a folder's names. Raises InputError where these are not
    there."""
    if dataset.name in SPLIT_SIZES:
        counts = SPLIT_SIZES[dataset.name]
    elif dataset.name == "npz" or is_own(dataset.name):
        train, test = _of_own(dataset) if is_own(dataset.name) else _of_npz(dataset)
        counts = (train - held_out_of(train), held_out_of(train), test)
    elif dataset.name in PAIRS:
        files = pairs.listing(dataset)
        counts = (len(files["train"]), len(files["val"]), len(files["test"]))
    else:
        listing = {split: len(names) for split, names in layout(dataset).items()}
        train, val = listing["train"], listing.get("val")
        if val is None:
            val = min(held_out_of(train), MOST_HELD_OUT)
            train -= val
        counts = (train, val, listing["test"])
    return Sizes(*(min(count, dataset.limit or count) for count in counts))


def held_out_of(train: int) -> int:
    """How many of so many training images become validation images."""
    return max(1, round(SHARE * train))


def _of_own(dataset: Dataset) -> tuple[int, int]:
    arrays = own.arrays(dataset.name)
    return len(arrays["train_y"]), len(arrays["test_y"])


def _of_npz(dataset: Dataset) -> tuple[int, int]:
    import numpy as np

    try:
        with np.load(place(dataset), allow_pickle=False) as arrays:
            return len(arrays["train_y"]), len(arrays["test_y"])
    except FileNotFoundError as error:
        raise absent(dataset, place(dataset)) from error
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"dataset {dataset.title}: {dataset.path}: {error}") from error


def layout(dataset: Dataset) -> dict[str, Listing]:
    """The files of a dataset's splits. Raises InputError where they are not as they should be."""
    splits = LAYOUTS[dataset.name](dataset, place(dataset))
    for split, listing in splits.items():
        if not listing:
            raise InputError(f"dataset {dataset.title}: no images in {dataset.path} for {split}")
    return splits


def _folder(dataset: Dataset, root: Path) -> dict[str, Listing]:
    """SPLIT/CLASS/FILE. Without a test split, val's images are the test images."""
    classes = class_names(dataset, root / "train")
    train = _in_classes(dataset, root, "train", classes)
    val = _in_classes(dataset, root, "val", classes)
    if not (root / "test").is_dir():
        return {"train": train, "test": val}
    return {"train": train, "val": val, "test": _in_classes(dataset, root, "test", classes)}


def _imagenet(dataset: Dataset, root: Path) -> dict[str, Listing]:
    classes = class_names(dataset, root / "train")
    wanted = CHANNELS_AND_CLASSES["imagenet"][1]
    # Published heads count on the labels of all classes.
    if len(classes) != wanted:
        raise InputError(
            f"dataset {dataset.title}: {root / 'train'} has {len(classes)} class folders, "
            f"not {wanted}: give a part of ImageNet as name: folder"
        )
    return {
        "train": _in_classes(dataset, root, "train", classes),
        "test": _in_classes(dataset, root, "val", classes),
    }


def _in_classes(dataset: Dataset, root: Path, split: str, classes: list[str]) -> Listing:
    """The images of a split, whose class folders are those of train, none of them empty."""
    where = root / split
    listing: Listing = []
    seen: Seen = {}
    there, labels = class_names(dataset, where), {name: k for k, name in enumerate(classes)}
    for name in sorted({*there, *classes}):
        if name not in labels:
            raise InputError(
                f"dataset {dataset.title}: {where / name}: no such class in train: remove the "
                "folder, or add its training images"
            )
        if name not in there:
            raise InputError(
                f"dataset {dataset.title}: {where / name} not there, a class of train: add its "
                "images, or remove the class from every split"
            )
        files = [os.path.join(at, f) for at, names in walk(str(where / name), seen) for f in names]
        if not files:
            raise InputError(
                f"dataset {dataset.title}: {where / name}: no images of this class: add some, or "
                "remove its folder from every split"
            )
        listing += [(os.path.relpath(file, root), labels[name]) for file in sorted(files)]
    return listing


def _cub200(dataset: Dataset, root: Path) -> dict[str, Listing]:
    """Lists of `number value` lines; class labels count from 1."""
    names, labels, in_train = (
        dict(_pairs(dataset, root / f"{name}.txt"))
        for name in ("images", "image_class_labels", "train_test_split")
    )
    splits: dict[str, Listing] = {"train": [], "test": []}
    for number, name in names.items():
        if number not in labels or number not in in_train:
            raise InputError(
                f"dataset {dataset.title}: image {number} of images.txt is not in both "
                f"other lists in {root}: unpack it again"
            )
        label = _label(dataset, root / "image_class_labels.txt", labels[number], first=1)
        splits["train" if in_train[number] == "1" else "test"].append((f"images/{name}", label))
    _require(dataset, root, splits)
    return splits


def _visda17(dataset: Dataset, root: Path) -> dict[str, Listing]:
    """train/ (synthetic) and validation/ (real, our test images), each with image_list.txt."""
    splits: dict[str, Listing] = {}
    for split, folder in (("train", "train"), ("test", "validation")):
        path = root / folder / "image_list.txt"
        splits[split] = [
            (f"{folder}/{name}", _label(dataset, path, label, first=0))
            for name, label in _pairs(dataset, path)
        ]
    _require(dataset, root, splits)
    return splits


def _gtsrb(dataset: Dataset, root: Path) -> dict[str, Listing]:
    """torchvision's: GTSRB/Training/CLASS/TRACK_FRAME.ppm, GTSRB/Final_Test/Images and a table of
    its classes. A track is one sign that comes nearer, thirty frames that are nearly alike: val has
    a tenth of each class's tracks, its last ones, and train no frame of them."""
    training, tests = Path("GTSRB", "Training"), Path("GTSRB", "Final_Test", "Images")
    splits: dict[str, Listing] = {"train": [], "val": []}
    for name in class_names(dataset, root / training):
        label = _label(dataset, root / training, name, first=0)
        files = sorted(file for _, names in walk(str(root / training / name)) for file in names)
        tracks = sorted({file.split("_")[0] for file in files})
        held = tracks[-held_out_of(len(tracks)) :] if len(tracks) > 1 else []
        for file in files:
            split = "val" if file.split("_")[0] in held else "train"
            splits[split].append((str(training / name / file), label))
    path = root / "GT-final_test.csv"
    try:
        with path.open(encoding="utf-8", newline="") as table:
            rows = list(csv.DictReader(table, delimiter=";", skipinitialspace=True))
        named = [(row["Filename"], row["ClassId"]) for row in rows]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise absent(dataset, path) from error
    except (KeyError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"dataset {dataset.title}: {path}: no table of Filename and ClassId: fetch it again"
        ) from error
    splits["test"] = [(str(tests / name), _label(dataset, path, k, first=0)) for name, k in named]
    _require(dataset, root, {"test": splits["test"]})
    return splits


def _require(dataset: Dataset, root: Path, splits: dict[str, Listing]) -> None:
    """Raises InputError if an image that is in a list is not in its folder."""
    for name, _ in chain.from_iterable(splits.values()):
        if not os.path.isfile(root / name):
            raise InputError(
                f"dataset {dataset.title}: {root / name} is in a list and not there: unpack it "
                "again"
            )


def _pairs(dataset: Dataset, path: Path) -> list[tuple[str, str]]:
    """The two words of each line of a list."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise absent(dataset, path) from error
    pairs = []
    for number, line in enumerate(lines, 1):
        words = line.rsplit(maxsplit=1)
        if len(words) == 2:
            pairs.append((words[0], words[1]))
        elif words:
            raise InputError(
                f"dataset {dataset.title}: {path} line {number}: not two words: {line}"
            )
    return pairs


def _label(dataset: Dataset, path: Path, text: str, first: int) -> int:
    classes = CHANNELS_AND_CLASSES[dataset.name][1]
    if not text.isdecimal() or not 0 <= int(text) - first < classes:
        raise InputError(
            f"dataset {dataset.title}: {path}: label {text} is not one of "
            f"{first} to {first + classes - 1}"
        )
    return int(text) - first


LAYOUTS: dict[str, Callable[[Dataset, Path], dict[str, Listing]]] = {
    "folder": _folder,
    "imagenet": _imagenet,
    "cub200": _cub200,
    "visda17": _visda17,
    "gtsrb": _gtsrb,
}
