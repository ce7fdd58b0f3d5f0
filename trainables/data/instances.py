"""Images whose objects have masks: Pascal VOC, and images beside label maps; in a folder or a zip
file. All are kept in memory, at the size that they are seen in.

Of N images, targets are (N, 2, H, W) int16: for each pixel the number of its object, from 1 (0 is
background, VOID is to be ignored), and the object's class, from 1.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from search_spaces.errors import InputError
from search_spaces.spec import Dataset
from trainables.data.image_files import rgb
from trainables.data.images import Images
from trainables.data.pairs import Pair, listing

VOID = -1
"""The number of pixels that count neither as object nor as background."""
_VOC_VOID = 255

Map = NDArray[np.integer]


def read(dataset: Dataset) -> tuple[Images, Images, Images]:
    """Train, val and test. The test images are VOC's val, or a fifth of all; a tenth of the rest is
    val, the same on every call. Raises InputError for files that are absent or cannot be read, and
    where a split has no object."""
    splits = listing(dataset)
    parts: list[Images] = []
    for name in ("train", "val", "test"):
        part = _images(splits[name][: dataset.limit], dataset)
        if not (part.y[:, 0] > 0).any():
            raise InputError(
                f"dataset {dataset.title}: no object in {name}'s images at {dataset.size} pixels: "
                "add images, or raise size: or limit:"
            )
        parts.append(part)
    train, val, test = parts
    return train, val, test


def _images(pairs: Sequence[Pair], dataset: Dataset) -> Images:
    size = dataset.size
    x = torch.empty((len(pairs), 3, size, size), dtype=torch.uint8)
    y = torch.empty((len(pairs), 2, size, size), dtype=torch.int16)
    for row, pair in enumerate(pairs):
        pixels, numbers, classes = _decoded(dataset, pair)
        x[row] = torch.from_numpy(pixels.copy())
        y[row] = targets(numbers, classes, size)
    return Images(x, y)


def _decoded(dataset: Dataset, pair: Pair) -> tuple[NDArray[np.uint8], Map, Map | None]:
    """(image (3, size, size), map of objects, map of classes if the data set has one)."""
    current = pair.image
    try:
        with current.open("rb") as file, Image.open(file) as image:
            whole = rgb(image)
            size = whole.size
            seen = whole.resize((dataset.size, dataset.size), Image.Resampling.BILINEAR)
        maps = []
        for current in (file for file in pair[1:] if file is not None):
            with current.open("rb") as file, Image.open(file) as image:
                maps.append(np.asarray(image))
                if maps[-1].ndim != 2 or image.size != size:
                    raise InputError(f"not one number for each of its image's {size} pixels")
    # Decoders raise nearly anything on damaged files.
    except Exception as error:
        raise InputError(
            f"dataset {dataset.title}: {current}: cannot be read ({error}): replace the file"
        ) from error
    if dataset.name == "voc":
        maps[0] = np.where(maps[0] == _VOC_VOID, VOID, maps[0].astype(np.int32))
    return np.asarray(seen).transpose(2, 0, 1), maps[0], maps[1] if len(maps) > 1 else None


def targets(numbers: Map, classes: Map | None, size: int) -> Tensor:
    """(2, size, size) int16 of maps (H, W): objects' numbers (0: background, VOID: ignored) and, if
    there are several classes, pixels' classes (0 and 255: none). An object's class is that of most
    of its pixels; one without any is ignored. Without classes, all objects are of class 1."""
    there = np.unique(numbers[numbers > 0])
    names = np.zeros(len(there) + 1, np.int16)
    for row, number in enumerate(there, 1):
        names[row] = 1 if classes is None else _commonest(classes[numbers == number])
    height, width = numbers.shape
    rows = (np.arange(size) * 2 + 1) * height // (2 * size)
    columns = (np.arange(size) * 2 + 1) * width // (2 * size)
    seen = numbers[rows[:, None], columns[None, :]]
    own = np.where(seen > 0, np.searchsorted(there, seen) + 1, 0)
    own = np.minimum(own, len(there))
    out = np.where((seen == VOID) | ((seen > 0) & (names[own] == 0)), VOID, own)
    return torch.from_numpy(np.stack([out, names[own]]).astype(np.int16))


def _commonest(classes: Map) -> int:
    """The class of most pixels; 0 where none has one."""
    known = classes[(classes > 0) & (classes != _VOC_VOID)]
    return int(np.bincount(known).argmax()) if len(known) else 0


def objects(y: Tensor) -> tuple[Tensor, Tensor]:
    """(masks (K, H, W) bool, classes (K,) int64) of the K objects that are seen in an image, of its
    targets (2, H, W)."""
    numbers, classes = y
    there = numbers.unique()
    masks = numbers == there[there > 0][:, None, None]
    first = masks.flatten(1).int().argmax(1)
    return masks, classes.flatten()[first].long()


def boxes(masks: Tensor) -> Tensor:
    """(K, 4) float32: left, top, right and bottom edge of masks (K, H, W) with a pixel at least."""
    down, across = masks.any(2).int(), masks.any(1).int()
    height, width = masks.shape[1:]
    left, top = across.argmax(1), down.argmax(1)
    right, bottom = width - across.flip(1).argmax(1), height - down.flip(1).argmax(1)
    return torch.stack([left, top, right, bottom], dim=1).float()
