"""Image files of a folder: which ones count, how they become 8-bit RGB, whether all can be read.

Light: no torch, and Pillow only where pixels are read. Pixels are taken as they are stored: a
rotation in a file's EXIF is not applied, as in torchvision, whose readings published weights were
trained on.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from search_spaces.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""File names that count as images, in lower case."""

# Pillow opens 16-bit images of these formats as 32-bit ones.
_SIXTEEN_BITS = {"PNG", "PPM"}
_ROTATED = {3, 4, 5, 6, 7, 8}
_ORIENTATION = 0x0112

Seen = dict[tuple[int, int], str]


def walk(folder: str, seen: Seen | None = None) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its image files, sorted) for a folder and all below it, sorted; links are
    followed, hidden files and folders are not there.

    `seen`: folders met before, by device and inode; a folder may be met once. Raises InputError
    where one is met again: links that lead back to it, or two classes that are one.
    """
    seen = {} if seen is None else seen
    about = os.stat(folder)
    identity = (about.st_dev, about.st_ino)
    if identity in seen:
        raise InputError(
            f"{folder} is the same folder as {seen[identity]}: remove the link, or its images "
            "count twice"
        )
    seen[identity] = folder
    below, names = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            if entry.is_dir():
                below.append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                names.append(entry.name)
    yield folder, sorted(names)
    for each in sorted(below):
        yield from walk(each, seen)


class Examined(NamedTuple):
    """An image file: its content's SHA-256, whether its EXIF asks for a rotation, and what keeps it
    from being read, with what to do (None: nothing)."""

    sha256: str
    rotated: bool
    wrong: str | None


def examine(path: Path) -> Examined:
    """Reads an image file once, and decodes all of it."""
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        return Examined("", False, f"{path}: not a file, or a link to none: remove it")
    try:
        content = path.read_bytes()
    except OSError as error:
        return Examined("", False, f"{path}: {error.strerror}: make it readable, or remove it")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with Image.open(io.BytesIO(content)) as image:
            rotated = image.getexif().get(_ORIENTATION) in _ROTATED
            if wrong := _ambiguous(image):
                return Examined(sha256, rotated, f"{path}: {wrong}")
            image.draft(image.mode, (1, 1))  # A JPEG is read to its end, at an eighth of its scale.
            image.load()
    # Decoders raise nearly anything on damaged files: OSError, SyntaxError, ValueError, zlib.error.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no image that Pillow knows"
        return Examined(sha256, False, f"{path}: {reason}: replace or remove it")
    return Examined(sha256, rotated, None)


def rgb(image: "Image.Image") -> "Image.Image":
    """Any image as 8-bit RGB: 16-bit grey by its high byte, transparency dropped. Raises InputError
    for pixels that have no one meaning."""
    import numpy as np
    from PIL import Image

    if wrong := _ambiguous(image):
        raise InputError(wrong)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _ambiguous(image: "Image.Image") -> str | None:
    """Why an image's pixels have no one meaning as brightness, and what to do."""
    if image.mode == "F":
        return "pixels are floating-point numbers of no stated range: save it with 8 bits a channel"
    if image.mode == "I" and image.format not in _SIXTEEN_BITS:
        return "pixels are 32-bit integers of no stated range: save it with 8 bits a channel"
    return None
