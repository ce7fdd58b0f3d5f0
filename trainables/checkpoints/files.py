"""Files of weights into tensors by name, and names for files that are something else.

torch's own weights-only loading reads what torch.save wrote: it makes nothing but tensors, plain
containers and stand-ins, and refuses whatever else a pickle names. What it refuses, the converter
takes apart on demand (foreign.py), without running anything either.
"""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search_spaces.errors import InputError
from trainables.checkpoints.contents import BESIDE_WEIGHTS, flattened, printable, stand_in
from trainables.store.tensors import read

CONVERTER = "python -m trainables.checkpoints.convert"

_UNPACK = "unpack it, and give the file of weights inside"
# How files begin that people take for weights: what they are, and what to do instead.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer to a file", "fetch that with git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer to a file", "fetch that with git annex get"),
    (b"../.git/annex/", "a git-annex pointer to a file", "fetch that with git annex get"),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ", "an xz archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89HDF", "an HDF5 file", "save the weights from PyTorch"),
    (b"GGUF", "a file of quantised weights (GGUF)", "take the float weights they were made from"),
)


def tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, dense, on the CPU, under dotted names (contents.flattened).

    Raises InputError if the file is damaged, is something else than weights, or holds more than
    plain data.
    """
    try:
        return flattened(content(path))[0]
    except pickle.UnpicklingError as error:
        raise InputError(
            "it holds more than tensors and plain containers, which is not read because it could "
            f"run code: rewrite it once with {CONVERTER} {path} "
            f"{path.with_suffix('.safetensors')} --drop, and put that under path:"
        ) from error


def content(path: Path) -> object:
    """What a file holds: tensors, plain containers, numbers, texts, stand-ins.

    Raises InputError if it is damaged or no file of weights, pickle.UnpicklingError where torch
    refuses what its pickle names.
    """
    try:
        if mistaken := _mistaken(path):
            raise InputError(mistaken)
        if _is_safetensors(path):
            return read(path)
        known: list[Any] = [(stand_in(name), name) for name in BESIDE_WEIGHTS]
        # A file object: torch goes by a path's ending.
        with (
            torch.serialization.safe_globals(known),
            warnings.catch_warnings(),
            path.open("rb") as file,
        ):
            # It warns of protocols that it then refuses.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except (InputError, pickle.UnpicklingError):
        raise
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or first_line(error)})") from error
    # Damaged files end in all kinds of errors inside torch and safetensors.
    except Exception as error:
        raise InputError(
            f"cannot be read ({first_line(error)}): is it a whole file, written by torch.save or "
            "as safetensors? get it again"
        ) from error


def _is_safetensors(path: Path) -> bool:
    """By content, as names are given freely: a length in eight bytes, then a JSON object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _mistaken(path: Path) -> str | None:
    """What a file is that is no file of weights, and what to do instead; None if it may be one."""
    with path.open("rb") as file:
        start = file.read(512)
    text = start.lstrip().lower()
    if not start:
        return "it is empty: get it again"
    for beginning, what, remedy in _BEGINNINGS:
        if start.startswith(beginning):
            return f"it is {what}: {remedy}"
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return (
            "it is an HTML page, not weights: open its address in a browser and download the file"
        )
    if start[257:262] == b"ustar":
        return f"it is a tar archive: {_UNPACK}"
    if start.startswith(b"PK"):
        return _mistaken_archive(path)
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        line = printable(start.decode("ascii").strip().splitlines()[0])[:40]
        return f"it is a text that begins with '{line}', not weights: get the file itself"
    return None


def _mistaken_archive(path: Path) -> str | None:
    """What a zip file is other than torch.save's; None if it is that."""
    if not zipfile.is_zipfile(path):
        return "it is cut off: get it again, whole"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any("/code/" in name for name in names):
        return (
            "it is a TorchScript program: save its weights with "
            "torch.save(torch.jit.load(FILE).state_dict(), ANOTHER)"
        )
    if any(name.endswith(".npy") for name in names):
        return "it holds numpy arrays: save a state_dict with torch.save"
    if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return f"it is a zip archive: {_UNPACK}"
    return None


def first_line(error: BaseException) -> str:
    """An error's first line, without what torch appends for developers."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])
