"""Which files hold images and their objects' masks, in a folder or a zip file. Light: no torch."""

import hashlib
import random
import zipfile
from pathlib import Path
from typing import NamedTuple

from search_spaces.errors import InputError
from search_spaces.spec import Dataset
from trainables.data.catalogue import absent, place
from trainables.data.image_files import SUFFIXES

Source = Path | zipfile.Path

TESTED, HELD = 0.2, 0.1
"""Shares: of all images, where none are set apart, tested; of the rest, held out as val."""


class Pair(NamedTuple):
    """An image's file, its map of objects, and its map of classes where there are several."""

    image: Source
    objects: Source
    classes: Source | None = None


def listing(dataset: Dataset) -> dict[str, list[Pair]]:
    """The files of train, val and test, parted in an order that is the same on every call. Raises
    InputError where one is not there."""
    root = opened(dataset)
    if dataset.name == "voc":
        train, test = (_of_voc(dataset, root, split) for split in ("train", "val"))
        rest = _mixed(train)
    else:
        every = _mixed(_beside(dataset, root))
        count = _share(TESTED, len(every))
        test, rest = every[:count], every[count:]
    held = _share(HELD, len(rest))
    return {"train": rest[held:], "val": rest[:held], "test": test}


def digest(dataset: Dataset) -> str:
    """SHA-256 over the names and contents of all files that are read, the same of a folder and of
    its zip file. Raises InputError where one is not there."""
    whole = hashlib.sha256()
    for split, pairs in listing(dataset).items():
        for file in (file for pair in pairs for file in pair if file is not None):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            whole.update(f"{split}/{file.name}\0{content}\n".encode())
    return whole.hexdigest()


def opened(dataset: Dataset) -> Source:
    """The folder that the files are in, or the zip file as one. Raises InputError where there is
    none."""
    root = place(dataset)
    if root.is_dir():
        return root
    try:
        return zipfile.Path(root)
    except FileNotFoundError as error:
        raise absent(dataset, root) from error
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"dataset {dataset.title}: {root}: is no folder and no zip file: correct path:"
        ) from error


def _of_voc(dataset: Dataset, root: Source, split: str) -> list[Pair]:
    names = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not names.is_file():
        raise absent(dataset, Path(str(names)))
    found = [
        Pair(
            root / "JPEGImages" / f"{name}.jpg",
            root / "SegmentationObject" / f"{name}.png",
            root / "SegmentationClass" / f"{name}.png",
        )
        for name in names.read_text(encoding="utf-8").split()
    ]
    return _there(dataset, found)


def _beside(dataset: Dataset, root: Source) -> list[Pair]:
    folder = root / "images"
    if not folder.is_dir():
        raise absent(dataset, Path(str(folder)))
    named = sorted(f.name for f in folder.iterdir() if Path(f.name).suffix.lower() in SUFFIXES)
    return _there(
        dataset, [Pair(folder / n, root / "masks" / f"{Path(n).stem}.png") for n in named]
    )


def _there(dataset: Dataset, pairs: list[Pair]) -> list[Pair]:
    for pair in pairs:
        for file in pair:
            if file is not None and not file.is_file():
                raise absent(dataset, Path(str(file)))
    if len(pairs) < 2:
        raise InputError(f"dataset {dataset.title}: {len(pairs)} images: it takes 2 at least")
    return pairs


def _mixed(pairs: list[Pair]) -> list[Pair]:
    """In an order of their own, which neighbouring names do not share."""
    return random.Random(0).sample(pairs, len(pairs))


def _share(share: float, count: int) -> int:
    return max(1, round(share * count))
