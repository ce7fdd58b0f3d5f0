"""What a file of torch.save's holds where torch's weights-only loading refuses it, read without
running anything that the file names.

A pickle is a program: it names functions and calls them. Here a name either stands for one of the
few functions below, or it is forbidden; nothing is ever looked up or imported by name. A forbidden
name is refused, or, on demand, stands for a stand-in that does nothing.

Why not torch's loading with stand-ins as its safe globals: it refuses items of a stand-in (lost
subclasses of dict and list, as in every Lightning checkpoint, defaultdicts), pickle protocols above
2, and lists the names in a file only if that is a zip archive.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from search_spaces.errors import InputError
from trainables.checkpoints.contents import BESIDE_WEIGHTS, StandIn, printable, stand_in

# How torch.save began its files before it wrote zip archives (PyTorch 1.6).
LEGACY_START = [0x1950A86A20F9469CFC6C, 1001]


@dataclass(frozen=True)
class Known:
    """What the reader does where the file names a known function."""

    make: Callable[..., object]


def _tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    """A view of a storage (a flat tensor). Raises ValueError if it were larger than its storage."""
    if math.prod(size) > storage.numel():
        raise ValueError("a tensor larger than its storage")
    # as_strided checks that no element lies outside.
    return storage.as_strided(size, stride, offset)


STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
KNOWN: dict[str, Known] = {
    "collections.OrderedDict": Known(OrderedDict),
    "torch._utils._rebuild_tensor": Known(_tensor),
    "torch._utils._rebuild_tensor_v2": Known(_tensor),
    "torch._utils._rebuild_parameter": Known(lambda data, *_: data),
    "torch._utils._rebuild_parameter_with_state": Known(lambda data, *_: data),
    "builtins.set": Known(set),
    "__builtin__.set": Known(set),
    "collections.defaultdict": Known(lambda *_: {}),
    "torch.nn.parameter.Parameter": Known(lambda data, *_: data),
}
# What else these modules make are tensors too: leaving one out would leave out weights.
TENSORS = {"torch._utils", "torch._tensor"}
# The Python implementation of pickle: only there can each instruction be replaced.
_Unpickler: Any = pickle._Unpickler


class Reader(_Unpickler):
    """Reads one pickle; `storage(type, key, count)` gives the flat tensor that it refers to."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)

    def __init__(
        self, file: IO[bytes], storage: Callable[[torch.dtype, str, int], Tensor], drop: bool
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self.storage, self.drop = storage, drop

    def find_class(self, module: str, name: str) -> object:
        """Never looks anything up: known, inert, or refused."""
        full = f"{module}.{name}"
        if full in KNOWN:
            return KNOWN[full]
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module in TENSORS:
            raise InputError(f"it names {printable(full)}, a kind of tensor that is not read here")
        if self.drop or full in BESIDE_WEIGHTS:
            return stand_in(full)()
        raise InputError(
            f"it names {printable(full)}, which is neither tensor nor plain container; "
            "--drop leaves such entries out, without running anything"
        )

    def get_extension(self, code: int) -> object:
        raise ValueError("an extension code, which torch.save never writes")

    def persistent_load(self, pid: object) -> object:
        match pid:
            case ("storage", torch.dtype() as kind, str(key), _, int(count)):
                return self.storage(kind, key, count)
            case ("storage", torch.dtype() as kind, str(key), _, int(count), None):
                return self.storage(kind, key, count)
            case ("module", described, *_):  # the class of a module pickled as a whole
                return described
        raise ValueError("an unknown kind of persistent object")

    def _instantiate(self, what: object, args: Any) -> None:
        """INST and OBJ."""
        self.append(_made(what, args))

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], args)

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments: no known function has any
        self.load_reduce()

    def load_build(self) -> None:
        """A stand-in keeps its object's state; tensors and plain containers have none that counts
        (state_dicts carry version numbers)."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], StandIn):
            self.stack[-1].state = state

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_reduce
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build


def _made(what: object, args: Any) -> object:
    """What calling `what` gives, where it is known or inert; nothing else is ever called."""
    if isinstance(what, StandIn):
        return type(what)()
    if isinstance(what, Known):
        return what.make(*args)
    raise ValueError(f"a call of a {type(what).__name__}")


def content(path: Path, drop: bool) -> object:
    """What a torch file holds: tensors, plain containers, scalars, placeholders.

    Raises InputError if it is no such file, is damaged, or (without drop) names anything forbidden.
    """
    try:
        return _zipped(path, drop) if zipfile.is_zipfile(path) else _legacy(path, drop)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    # A hostile or damaged file may end in any error; none of its code has run.
    except Exception as error:
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])
        raise InputError(f"it is no whole file of torch.save's: {reason}") from error


def _zipped(path: Path, drop: bool) -> object:
    archive: Any = torch.PyTorchFileReader(str(path))
    if archive.has_record("byteorder") and archive.get_record("byteorder") != b"little":
        raise InputError("it is written in big-endian order; save it on a little-endian machine")
    storages: dict[str, Tensor] = {}

    def storage(kind: torch.dtype, key: str, count: int) -> Tensor:
        if key not in storages:
            storages[key] = _flat(archive.get_record(f"data/{key}"), kind)
        return storages[key].view(kind)

    return Reader(io.BytesIO(archive.get_record("data.pkl")), storage, drop).load()


def _legacy(path: Path, drop: bool) -> object:
    """Pickles one after another (magic number, protocol, machine, content, keys of storages), then
    each storage: its count as int64, its elements."""
    storages: dict[str, Tensor] = {}
    size = path.stat().st_size

    def storage(kind: torch.dtype, key: str, count: int) -> Tensor:
        if key not in storages:
            if not 0 <= count * kind.itemsize <= size:
                raise ValueError("a storage larger than the file")
            storages[key] = torch.empty(count, dtype=kind)
        return storages[key]

    with path.open("rb") as file:
        if [Reader(file, storage, drop).load() for _ in range(2)] != LEGACY_START:
            raise ValueError("it begins otherwise")
        _, content, keys = (Reader(file, storage, drop).load() for _ in range(3))
        for key in keys:
            flat = storages[key]
            (count,) = struct.unpack("<q", file.read(8))
            if count != flat.numel():
                raise ValueError("a storage of another size than announced")
            flat.copy_(_flat(file.read(count * flat.itemsize), flat.dtype))
    return content


def _flat(raw: bytes, kind: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(raw), dtype=kind) if raw else torch.empty(0, dtype=kind)
