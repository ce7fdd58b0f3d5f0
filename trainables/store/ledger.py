"""The ledger: finished results on disk, each under the key of its spec.

A result is a folder KIND/KEY with `spec.json`, `result.json`, further files, and `SHA256SUMS` of
all of them (as sha256sum writes it). It is written under a temporary name and moved into place
whole: where the folder is, the result is complete. One damaged later is set aside, never used.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from search_spaces.base import Spec, named_in
from search_spaces.errors import InputError
from search_spaces.finished import evidence
from search_spaces.finished.weights import Weights
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket, Transfer
from search_spaces.trials import Trial
from trainables.runtime import own
from trainables.store import atomic

_FOLDERS: dict[type[Spec], str] = {
    Theta: "thetas",
    Ticket: "tickets",
    Transfer: "transfers",
    Weights: "weights",
    Trial: "trials",
    **dict.fromkeys(evidence.KINDS, "evidence"),
}
UNFINISHED = "unfinished"
SUMS = "SHA256SUMS"
_ALWAYS = {"spec.json", "result.json"}
# A disk with less room than this is called full.
_PROBE = bytes(2**16)


class DamagedError(RuntimeError):
    """A file of a finished result is not what was written."""


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Ledger:
    """A storage path that the driver and all workers see."""

    root: Path

    def folder(self, spec: Spec) -> Path:
        """Where a spec's result is, or will be."""
        return self.root / _FOLDERS[type(spec)] / key(spec)

    def has(self, spec: Spec) -> bool:
        """Is the result complete?"""
        return self.folder(spec).is_dir()

    def keys(self, kind: type[Spec]) -> set[str]:
        """The keys of all complete results of a kind. Raises InputError if they can't be listed."""
        try:
            names = os.listdir(self.root / _FOLDERS[kind])
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise InputError(
                f"storage {self.root}: cannot be read ({error.strerror}): choose another --storage"
            ) from None
        return {name for name in names if not name.startswith(".")}

    def folders_of(self, kind: type[Spec], names: Iterable[str]) -> list[Path]:
        """Where results of a kind are, by their keys."""
        return [self.root / _FOLDERS[kind] / name for name in names]

    def folders(self) -> list[Path]:
        """Where results of each kind are."""
        return [self.root / name for name in dict.fromkeys(_FOLDERS.values())]

    def all_keys(self) -> set[str]:
        """The keys of all complete results of every kind."""
        return set().union(*(self.keys(kind) for kind in _FOLDERS))

    def all(self, kind: type[S]) -> Iterator[S]:
        """The specs of all complete results of a kind, in no order of meaning."""
        for file in sorted((self.root / _FOLDERS[kind]).glob("[!.]*/spec.json")):
            try:
                yield kind.model_validate_json(file.read_bytes())
            except ValidationError:
                continue  # Written when specs had other fields: nothing of today has its key.

    def result(self, spec: Spec) -> dict[str, Any]:
        """The result as it was written. Raises FileNotFoundError where there is none, InputError
        where it is damaged."""
        with self._whole(spec, "result.json") as path:
            result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result

    def correct(self, transfer: Transfer) -> dict[str, NDArray[np.bool_]] | None:
        """Which test images a transfer gets right, clean ("SA") and under attack ("RA"): (N,). None
        of objects, whose score is no mean over images."""
        if transfer.dataset.kind == "instances":
            return None
        with self._whole(transfer, "correct.safetensors") as path:
            bits = load_file(path)
        return {"SA": bits["clean"], "RA": bits["attacked"]}

    def unfinished(self, spec: Spec) -> Path:
        """Where the training behind a result that is not there yet keeps its progress."""
        return self.root / UNFINISHED / f"{key(spec)}.progress"

    def file(self, spec: Spec, name: str) -> Path:
        """A file of a result, its content checked. Raises DamagedError if it has changed."""
        folder = self.folder(spec)
        if reason := _damage(folder, name, _sums(folder)):
            raise DamagedError(f"{folder / name}: {reason}")
        return folder / name

    def files(self, spec: Spec) -> dict[str, bytes]:
        """Name and content of a result's further files. Raises DamagedError if one has changed."""
        folder = self.folder(spec)
        names = sorted(_sums(folder).keys() - _ALWAYS)
        return {name: self.file(spec, name).read_bytes() for name in names}

    def set_aside_if_damaged(self, spec: Spec) -> str | None:
        """Moves a result that is not what was written out of the way and says why; None if it is
        sound."""
        folder = self.folder(spec)
        # What is there and what was there: neither list alone shows every loss.
        sums = _sums(folder)
        names = sorted({*os.listdir(folder), *sums, *_ALWAYS})
        faults = (f"{name}: {why}" for name in names if (why := _damage(folder, name, sums)))
        reason = next(faults, None)
        if not reason:
            return None
        aside = self.root / "damaged" / f"{folder.parent.name}-{folder.name}-{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)
        return f"{folder}: {reason}; set aside as {aside}"

    @contextmanager
    def _whole(self, spec: Spec, name: str) -> Iterator[Path]:
        """A file of a result, its content checked; turns what reading a damaged one ends in into
        one line."""
        folder = self.folder(spec)
        if not folder.exists():
            raise FileNotFoundError(f"{folder}: no result")
        try:
            yield self.file(spec, name)
        except (DamagedError, OSError, ValueError, SafetensorError) as error:
            raise InputError(
                f"{folder}: {name} is damaged or gone: remove this folder and run the study again"
            ) from error

    @property
    def there(self) -> bool:
        """Is the storage there? Where a disk has gone, its mount point may be: a folder of ours is
        looked for."""
        return (self.root / UNFINISHED).is_dir()

    def fault(self) -> str | None:
        """Why nothing can be written here at this moment: a full disk, one that can only be read,
        a storage that has gone; None if it can."""
        # In a folder of ours: where a disk has gone, its mount point may be there and be writable.
        probe = self.root / UNFINISHED / f".write-test-{uuid.uuid4().hex[:8]}"
        try:
            atomic.flushed(probe, _PROBE)
        except OSError as error:
            return error.strerror or str(error)
        finally:
            with suppress(OSError):
                probe.unlink()
        return None

    def write(self, spec: Spec, result: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Puts a result in place, at once and whole. One that is already there stays."""
        target = self.folder(spec)
        if target.is_dir():
            return
        staging = atomic.staging(target)
        # Its parent is there, or the storage is not: what is written to a path that has lost its
        # disk would be hidden when the disk comes back.
        staging.mkdir()
        try:
            spec_text = spec.model_dump_json(indent=1, exclude_none=True)
            contents = {
                **files,
                "spec.json": spec_text.encode(),
                "result.json": json.dumps({**result, **_code(spec)}, indent=1).encode(),
            }
            sums = "".join(f"{_digest(text)}  {name}\n" for name, text in contents.items())
            for name, content in {**contents, SUMS: sums.encode()}.items():
                atomic.flushed(staging / name, content)
            os.rename(staging, target)
        except OSError:
            # Another process put the same result in place first: equal keys, equal results.
            if not target.is_dir():
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def open_ledger(root: Path) -> Ledger:
    """The ledger at `root`, made if missing. Raises InputError if it can't be written."""
    ledger = Ledger(root.resolve())
    try:
        for folder in (*_FOLDERS.values(), UNFINISHED):
            (root / folder).mkdir(parents=True, exist_ok=True)
        reason = ledger.fault()
    except OSError as error:
        reason = error.strerror
    if reason:
        raise InputError(f"storage {root}: cannot be written ({reason}): choose another --storage")
    return ledger


def _code(spec: Spec) -> dict[str, Any]:
    """What installed packages did for a result, by their versions; nothing where none did."""
    used = own.packages(named_in(spec))
    return {"packages": used} if used else {}


def _damage(folder: Path, name: str, sums: Mapping[str, str]) -> str:
    """Why a file cannot be trusted; empty if it can."""
    if name == SUMS:
        return ""
    try:
        digest = _digest((folder / name).read_bytes())
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if sums.get(name) == digest else "its content is not what was written"


def _sums(folder: Path) -> dict[str, str]:
    """File name -> sha256 as written with the result; what cannot be read has no sum."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: digest for digest, name in pairs}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
