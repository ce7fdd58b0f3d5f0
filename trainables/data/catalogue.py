"""What is known of each dataset without reading its images. Light: imports neither torch nor
numpy before it has to."""

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import InputError
from search_spaces.own import is_own
from search_spaces.spec import Dataset
from trainables.data import own

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EMBEDDED = {"mnist-mini", "digits", "digits-few"}
TORCHVISION = {"cifar10", "cifar100", "svhn"}
FOLDERS = {"imagenet", "cub200", "visda17", "folder"}
PAIRS = {"voc", "masks"}
"""Images beside maps of their objects."""

CHANNELS_AND_CLASSES = {
    "mnist-mini": (1, 10),
    "digits": (1, 10),
    "digits-few": (1, 10),
    "cifar10": (3, 10),
    "cifar100": (3, 100),
    "svhn": (3, 10),
    "gtsrb": (3, 43),
    "imagenet": (3, 1000),
    "cub200": (3, 200),
    "visda17": (3, 12),
    "voc": (3, 20),
    "masks": (3, 1),
}

SPLIT_SIZES = {
    "mnist-mini": (7_500, 1_000, 2_000),
    "digits": (1_000, 297, 500),
    "digits-few": (300, 200, 1_297),
    "cifar10": (45_000, 5_000, 10_000),
    "cifar100": (45_000, 5_000, 10_000),
    "svhn": (68_257, 5_000, 26_032),
    "imagenet": (1_271_167, 10_000, 50_000),
    "cub200": (5_395, 599, 5_794),
    "visda17": (142_397, 10_000, 55_388),
}
"""Images in train, val and test, as published and as `datasets.splits` parts them."""

SIZES = {
    "mnist-mini": 28,
    "digits": 8,
    **dict.fromkeys((*TORCHVISION, "gtsrb"), 32),
    **dict.fromkeys((*FOLDERS, *PAIRS), 224),
}
"""Height and width of images as published, in pixels; of photographs, as they are used."""

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
_IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Mean and std as in the code of Chen et al. (2022), which takes ImageNet's for all its folders.
NORMALISATION: dict[str, Normalisation] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1201, 0.1231, 0.1052)),
    **dict.fromkeys((*FOLDERS, "voc"), _IMAGENET),
}

HOW_TO_GET = {
    **dict.fromkeys((*TORCHVISION, "gtsrb"), "fetch it with: python -m tuner data STUDY"),
    "imagenet": "get ILSVRC2012 from image-net.org (free account) and unpack it so that images "
    "are in train/WNID/ and val/WNID/, 1000 class folders each",
    "cub200": "get CUB_200_2011.tgz from vision.caltech.edu/datasets/cub_200_2011 and unpack it",
    "visda17": "get train.tar and validation.tar of VisDA-2017's classification track "
    "(github.com/VisionLearningGroup/taskcv-2017-public) and unpack both there",
    "voc": "get VOCtrainval_11-May-2012.tar from host.robots.ox.ac.uk/pascal/VOC/voc2012, unpack "
    "it, and give the folder VOC2012, with JPEGImages, SegmentationObject, SegmentationClass and "
    "ImageSets/Segmentation",
    "masks": "lay images out as images/NAME.png and their label maps (0: background, every other "
    "number one object) as masks/NAME.png, in a folder or a zip file",
    "npz": "write arrays train_x (N, H, W, C) uint8, train_y, test_x, test_y with numpy.savez",
    "folder": "lay images out as SPLIT/CLASS/FILE with splits train and val, optionally test",
}


def place(dataset: Dataset) -> Path:
    """Where a dataset's files are. Raises InputError where it does not say."""
    if dataset.path is None:
        raise InputError(f"dataset {dataset.name}: path is not set: give the folder it lies in")
    return Path(dataset.path)


def absent(dataset: Dataset, looked_for: Path) -> InputError:
    """What to say when a dataset's file or folder is not there: what, where, how to get it."""
    return InputError(f"dataset {dataset.title}: {looked_for} not there: {_how(dataset)}")


def _how(dataset: Dataset) -> str:
    if is_own(dataset.name):
        return "return arrays train_x (N, H, W, C) uint8, train_y, test_x, test_y in a dict"
    return HOW_TO_GET[dataset.name]


def class_names(dataset: Dataset, folder: Path) -> list[str]:
    """The class folders in a split's folder, sorted. Raises InputError where there are none."""
    try:
        classes = sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise absent(dataset, folder) from error
    if not classes:
        raise InputError(f"dataset {dataset.title}: no class folders in {folder}: {_how(dataset)}")
    return classes


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def channels_and_classes(dataset: Dataset) -> tuple[int, int]:
    """Colour channels and number of classes, without reading images: known, or from an npz file's
    header and labels, a folder's names, or the user's function. Raises InputError where these are
    not there."""
    if dataset.name in CHANNELS_AND_CLASSES:
        return CHANNELS_AND_CLASSES[dataset.name]
    if dataset.name == "folder":
        return 3, len(class_names(dataset, place(dataset) / "train"))
    return _of_own(dataset) if is_own(dataset.name) else _of_npz(dataset)


def image_size(dataset: Dataset) -> int:
    """The larger of height and width of a dataset's images, in pixels, without reading them. Raises
    InputError where an npz file is not there or not what it should be."""
    if dataset.name in SIZES:
        return SIZES[dataset.name]
    channels_and_classes(dataset)  # Says what is wrong with the file.
    if is_own(dataset.name):
        return max(own.arrays(dataset.name)["train_x"].shape[1:3])
    with zipfile.ZipFile(place(dataset)) as archive:
        shape, _ = _header(archive, "train_x")
    return max(shape[1:3])


def _of_own(dataset: Dataset) -> tuple[int, int]:
    given, splits = own.arrays(dataset.name), ("train", "test")
    images = {split: (given[f"{split}_x"].shape, given[f"{split}_x"].dtype) for split in splits}
    return _counted(dataset, images, {split: given[f"{split}_y"] for split in splits})


def _of_npz(dataset: Dataset) -> tuple[int, int]:
    import numpy as np

    path = place(dataset)
    try:
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as arrays:
            images = {split: _header(archive, f"{split}_x") for split in ("train", "test")}
            labels = {split: arrays[f"{split}_y"] for split in images}
    except (FileNotFoundError, IsADirectoryError) as error:
        raise absent(dataset, path) from error
    # A damaged or hostile archive may end in any error; nothing of it has been unpickled.
    except Exception as error:
        raise InputError(f"dataset {dataset.title}: {path}: {error}: {_how(dataset)}") from error
    return _counted(dataset, images, labels)


def _counted(
    dataset: Dataset,
    images: "Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]",
    labels: "Mapping[str, NDArray[Any]]",
) -> tuple[int, int]:
    """(channels, classes) of arrays by the shapes and types of their images, and their labels, by
    split. Raises InputError where they are not what they should be."""
    for split, (shape, kind) in images.items():
        check_arrays(dataset, split, shape, kind, labels[split])
    (*_, channels), (*_, others) = images["train"][0], images["test"][0]
    wrong = "train_x and test_x differ in channels" if channels != others else None
    if wrong := wrong or _mislabelled(labels["train"], labels["test"]):
        raise InputError(f"dataset {dataset.title}: {dataset.path or dataset.name}: {wrong}")
    return channels, 1 + int(labels["train"].max())


def _mislabelled(train: "NDArray[Any]", test: "NDArray[Any]") -> str | None:
    """What is wrong with labels that are not the numbers from 0 up, each of them in train; None if
    nothing. A network would have an output for each number, whether it occurs or not."""
    import numpy as np

    classes = np.unique(train)
    lowest, highest, count = int(classes[0]), int(classes[-1]), len(classes)
    if lowest == 0 and highest == count - 1:
        if unseen := np.setdiff1d(test, classes).tolist():
            return f"label {unseen[0]} occurs in test_y and not in train_y: leave such images out"
        return None
    if highest - lowest == count - 1:
        return f"labels count from {lowest}: subtract {lowest}, so that they count from 0"
    missing = int(np.setdiff1d(np.arange(count), classes)[0])
    return (
        f"train_y holds {count} classes under labels from {lowest} to {highest}, and {missing} is "
        f"none of them: number them 0 to {count - 1} without gaps, as "
        "numpy.searchsorted(numpy.unique(train_y), labels) does"
    )


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    """The shape and the type of an array, without its content."""
    from numpy.lib import format as npy

    with archive.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(member)
    return shape, kind


def check_arrays(
    dataset: Dataset, split: str, shape: tuple[int, ...], kind: "np.dtype[Any]", y: "NDArray[Any]"
) -> None:
    """Raises InputError unless images of a shape and a type, and labels y, are what we read."""
    wrong = None
    if kind != "uint8" or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        wrong = f"{split}_x is {kind} {shape}, not uint8 (N, H, W, 1 or 3)"
    elif y.dtype.kind not in "iu" or y.shape != shape[:1] or y.min() < 0:
        wrong = f"{split}_y is {y.dtype} {y.shape}, not {shape[0]} integers from 0"
    if wrong:
        where = dataset.path or dataset.name
        raise InputError(f"dataset {dataset.title}: {where}: {wrong}: {_how(dataset)}")
