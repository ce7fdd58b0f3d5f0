"""Images that stay in files: decoded by loader processes batch by batch, never all in memory."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from search_spaces.errors import InputError
from search_spaces.spec import View
from trainables.data.image_files import rgb
from trainables.data.images import Images, random_boxes, still_box
from trainables.runtime.seeding import generator

WORKERS = "DOUBLE_WIN_LOADER_WORKERS"


@dataclass(frozen=True, eq=False)
class Folder:
    """Labelled image files below `root`, seen at size x size pixels in RGB.

    names: all files of the split, relative to root, as bytes (one array, so that loader processes
    share its memory); place: (N,) where this set's images stand in it; y: (N,) int64 labels.
    view resize: whole images, scaled. Other views: random resized crops of an image, each drawn
    from the stream's seed and the image's place alone; without a seed what is evaluated
    (`images.still_box`).
    """

    root: Path
    names: NDArray[np.bytes_]
    place: Tensor
    y: Tensor
    size: int
    view: View

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Tensor | slice) -> "Folder":
        where = index.cpu() if isinstance(index, Tensor) else index
        return replace(self, place=self.place[where], y=self.y[index])

    def to(self, device: torch.device | str) -> "Folder":
        return replace(self, y=self.y.to(device))

    def stream(self, batches: Sequence[Tensor], seed: int | None) -> Iterator[Images]:
        """Batches (N, 3, size, size), read in order by `loader_workers()` processes. Raises
        InputError naming a file that cannot be read."""
        device = self.y.device
        loader = DataLoader(
            _Batches(self, [self.place[batch.cpu()] for batch in batches], seed),
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=min(loader_workers(), len(batches)),
            pin_memory=device.type == "cuda",
            # A loader draws from the global generator unless it is given one.
            generator=torch.Generator(),
        )
        for batch, decoded in zip(batches, loader, strict=True):
            if decoded.wrong is not None:
                raise InputError(decoded.wrong)
            yield Images(decoded.x().to(device, non_blocking=True), self.y[batch.to(device)])

    def read(self, place: int, seed: int | None) -> NDArray[np.uint8]:
        """One image (3, size, size), by its place in names."""
        path = self.root / os.fsdecode(self.names[place])
        rng = None
        if self.view != "resize" and seed is not None:
            rng = generator(seed, "view", place)
        return decode(path, self.size, self.view, rng)


@dataclass
class _Decoded:
    """One batch on its way from a loader process: as an array, which goes through a pipe. A tensor
    would go through shared memory, and for ever where /dev/shm is small, as in containers."""

    array: NDArray[np.uint8] | None
    wrong: str | None = None
    pinned: Tensor | None = None

    def pin_memory(self) -> "_Decoded":
        """What the loader's thread does to batches for a GPU."""
        if self.array is not None:
            self.pinned = torch.from_numpy(self.array).pin_memory()
        return self

    def x(self) -> Tensor:
        """(N, 3, size, size)"""
        return torch.from_numpy(self.array) if self.pinned is None else self.pinned


class _Batches(Dataset[_Decoded]):
    """Item k is the k-th batch, or what went wrong with it: an exception would reach the training
    process wrapped in the loader process's traceback."""

    def __init__(self, images: Folder, batches: Sequence[Tensor], seed: int | None) -> None:
        self.images, self.batches, self.seed = images, batches, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> _Decoded:
        size = self.images.size
        places = self.batches[number].tolist()
        out = np.empty((len(places), 3, size, size), np.uint8)
        try:
            for row, place in enumerate(places):
                out[row] = self.images.read(place, self.seed)
        except InputError as error:
            return _Decoded(None, str(error))
        return _Decoded(out)


def _unchanged(batch: Any) -> Any:
    """A loader makes tensors of what its processes return, unless it is told what to do."""
    return batch


def loader_workers() -> int:
    """Processes that decode images for one training: DOUBLE_WIN_LOADER_WORKERS, by default as many
    as cores that this process may use, less one, and at most sixteen; 0 decodes in the training
    process itself. Results are the same.

    Raises InputError for anything but a whole number from 0."""
    default = min(16, len(os.sched_getaffinity(0)) - 1)
    text = os.environ.get(WORKERS, str(default))
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{WORKERS}={text}: takes a whole number of processes, 0 or more")
    return int(text)


def folder(
    root: Path,
    listing: Sequence[tuple[str, int]],
    size: int,
    view: View,
) -> Folder:
    """A set of image files from (name relative to root, label) pairs."""
    names = np.array([os.fsencode(name) for name, _ in listing], dtype=np.bytes_)
    labels = torch.tensor([label for _, label in listing], dtype=torch.int64)
    return Folder(root, names, torch.arange(len(listing)), labels, size, view)


def decode(path: Path, size: int, view: View, rng: torch.Generator | None) -> NDArray[np.uint8]:
    """An image file as (3, size, size): scaled whole (view resize), or a random resized crop drawn
    from `rng`, without it what is evaluated. Raises InputError where it can't be read."""
    try:
        with Image.open(path) as file:
            image = rgb(file)
            box = None if view == "resize" else _box(image, view, rng)
            seen = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    except InputError as error:
        raise InputError(f"image {path}: {error}") from error
    # Decoders raise nearly anything on damaged files: OSError, SyntaxError, ValueError, zlib.error.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"image {path}: cannot be read ({reason}): replace the file") from error
    return np.asarray(seen).transpose(2, 0, 1)


def _box(
    image: Image.Image, view: View, rng: torch.Generator | None
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the part of an image that is seen."""
    width, height = image.size
    if rng is None:
        box = still_box(height, width, view)
    else:
        box = random_boxes(1, height, width, rng, view)[0]
    left, top, w, h = box.tolist()
    # Rounding must not leave the image by a hair.
    return left, top, min(left + w, width), min(top + h, height)
