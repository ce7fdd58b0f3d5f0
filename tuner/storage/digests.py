"""What image folders are, by content: a digest of every image, read once and remembered.

Names and sizes would not do: other pixels under the same names are another data set, and must not
be shown the results of the old one. As reading all of ImageNet takes minutes, each folder's digest
is kept in the user's cache beside what the file system says of its files (name, size, times of
change, inode), and computed again where any of that differs; the time of a file's last change of
any kind (ctime) cannot be set back. Images are decoded on the way, so that those that cannot be
read are named here, and not hours later in a training.
"""

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_path

from search_spaces.errors import InputError
from search_spaces.spec import Dataset
from trainables.data.catalogue import absent, file_sha256
from trainables.data.image_files import examine, walk
from trainables.store import atomic

# What of a folder is data.
PARTS = {
    "folder": ("train", "val", "test"),
    "imagenet": ("train", "val"),
    "gtsrb": ("GTSRB/Training", "GTSRB/Final_Test/Images", "GT-final_test.csv"),
    "cub200": ("images", "images.txt", "image_class_labels.txt", "train_test_split.txt"),
    "visda17": ("train", "train/image_list.txt", "validation", "validation/image_list.txt"),
}
# So many images take a while to read, which is worth a line.
MANY = 5_000
# Seconds of reading that an interruption may lose.
KEEP_EVERY = 30.0
_NAMED = 3


class Contents(NamedTuple):
    """What images are: a hexadecimal SHA-256 over their names and contents, and how many of them
    ask in their EXIF for a rotation, which is not applied."""

    digest: str
    rotated: int


class Remembered(NamedTuple):
    """A folder's images when they were read, and what the file system said of them then."""

    stamp: str
    digest: str
    rotated: int


Folders = list[tuple[str, list[str]]]


def contents(dataset: Dataset, root: Path) -> Contents:
    """The contents of a data set's folder: its images and its lists.

    Reads only images that have changed since the last time. Raises InputError if a part of the
    folder is not there, or naming images that cannot be used.
    """
    parts = [part for part in PARTS[dataset.name] if part != "test" or (root / part).exists()]
    for part in parts:
        if not (root / part).exists():
            raise absent(dataset, root / part)
    lists = [part for part in parts if (root / part).is_file()]
    folders = [
        (folder, names)
        for part in parts
        if part not in lists
        for folder, names in walk(str(root / part))
        if names
    ]
    images = _images(dataset, root, folders)
    entries = {part: file_sha256(root / part) for part in lists}
    entries |= {os.path.relpath(folder, root): images[folder].digest for folder, _ in folders}
    return Contents(_digest(entries.items()), sum(each.rotated for each in images.values()))


def _images(dataset: Dataset, root: Path, folders: Folders) -> dict[str, Contents]:
    """The images in each of the folders, read where the cache does not know them."""
    cache = _cache(root)
    stamps = {folder: _stamp(folder, names) for folder, names in folders}
    known = {f: kept for f, kept in _load(cache).items() if kept.stamp == stamps.get(f)}
    unknown = [(folder, names) for folder, names in folders if folder not in known]
    if (count := sum(len(names) for _, names in unknown)) > MANY:
        print(f"{dataset.title}: reading {count:,} images, once", file=sys.stderr, flush=True)
    faults: list[str] = []
    saved = time.monotonic()
    for folder, images, faulty in _read(unknown):
        faults += faulty
        if not faulty:
            known[folder] = Remembered(stamps[folder], *images)
        if time.monotonic() - saved > KEEP_EVERY:
            _save(cache, known)
            saved = time.monotonic()
    if unknown:
        _save(cache, known)
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise InputError(
            f"dataset {dataset.title}: {len(faults)} of its images cannot be used: "
            f"{'; '.join(faults[:_NAMED])}{more}"
        )
    return {folder: Contents(each.digest, each.rotated) for folder, each in known.items()}


def _read(folders: Folders) -> Iterator[tuple[str, Contents, list[str]]]:
    """(folder, its images, what is wrong with them) of each, by as many threads as cores."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool, warnings.catch_warnings():
        # Pillow also warns of what it reads all the same.
        warnings.simplefilter("ignore")
        for folder, names in folders:
            examined = list(pool.map(examine, (Path(folder, name) for name in names)))
            digest = _digest((n, each.sha256) for n, each in zip(names, examined, strict=True))
            faults = [each.wrong for each in examined if each.wrong is not None]
            yield folder, Contents(digest, sum(each.rotated for each in examined)), faults


def _digest(entries: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(entries):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + content.encode() + b"\n")
    return digest.hexdigest()


def _stamp(folder: str, names: list[str]) -> str:
    """What the file system says of files; any change of one changes it."""
    entries = []
    for name in names:
        try:
            about = os.stat(os.path.join(folder, name))
        except OSError:
            entries.append((name, "absent"))
            continue
        times = f"{about.st_mtime_ns} {about.st_ctime_ns}"
        entries.append((name, f"{about.st_size} {times} {about.st_dev} {about.st_ino}"))
    return _digest(entries)


def _cache(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    return user_cache_path("double-win-tickets") / f"images-{name}.json"


def _load(cache: Path) -> dict[str, Remembered]:
    try:
        return {folder: Remembered(*kept) for folder, kept in json.loads(cache.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save(cache: Path, known: dict[str, Remembered]) -> None:
    # A home that cannot be written to costs time only.
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(cache, json.dumps(known))
