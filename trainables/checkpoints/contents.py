"""What a file of weights holds, as tensors by dotted name, however it nests them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from search_spaces.errors import InputError

# What stands beside weights in checkpoints: harmless, and no weights. None of it is ever made.
BESIDE_WEIGHTS = frozenset(
    {
        "argparse.Namespace",
        "builtins.set",
        "__builtin__.set",
        "datetime.datetime",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "pathlib.Path",
        "pathlib.PosixPath",
        "torch.Size",
        "torch.device",
        "torch.torch_version.TorchVersion",
    }
)


class StandIn:
    """Stands for an object, a class or a function that is not made: it takes everything that a
    pickle does to an object, and does nothing but keep the object's state, as data."""

    origin = ""
    state: object = None

    def __init__(self, *_: object) -> None:
        """Arguments are dropped."""

    def __setstate__(self, state: object) -> None:
        self.state = state

    def ignore(self, *values: object) -> None:
        """What a list, set or dict would do with an item."""

    append = extend = add = update = __setitem__ = ignore


def stand_in(origin: str) -> type[StandIn]:
    """What stands for the class or function that a file calls `origin`."""
    return type("StandIn", (StandIn,), {"origin": printable(origin)})


def flattened(content: object) -> tuple[dict[str, Tensor], list[str]]:
    """(tensors by name, what is left out): keys of nested containers are joined by dots, and a
    network that was pickled as a whole has the names of its state_dict.

    Tensors are dense, contiguous copies. Left out are scalars, stand-ins, and a container's second
    and later occurrences (so that one which holds itself, or itself twice, comes to an end).
    Raises InputError where two tensors would have one name, one has no values of its own to train
    from, or there are none.
    """
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], object]] = [((), content)]
    while waiting:
        keys, value = waiting.pop()
        name = ".".join(keys)
        items = _items(value)
        if isinstance(value, Tensor):
            if name in tensors:
                raise InputError(f"two tensors would be called {printable(name)}")
            tensors[name] = _dense(name, value.detach())
        elif items is None or id(value) in seen:
            kind = value.origin if isinstance(value, StandIn) else type(value).__name__
            left_out.append(f"{printable(name)} ({kind})")
        elif items:
            seen.add(id(value))
            waiting += [((*keys, str(key)), inside) for key, inside in reversed(items)]
    if not tensors:
        raise InputError("it holds no tensors")
    return tensors, left_out


def _items(value: object) -> list[tuple[object, object]] | None:
    """A plain container's (key, value) pairs, or a pickled module's; None for anything else."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return list(enumerate(value))
    if isinstance(value, StandIn) and isinstance(value.state, dict):
        parts = [value.state.get(part) for part in ("_parameters", "_buffers", "_modules")]
        if all(isinstance(part, dict) for part in parts):
            unsaved = value.state.get("_non_persistent_buffers_set")
            hidden = unsaved if isinstance(unsaved, set) else set()
            pairs = [pair for part in parts if isinstance(part, dict) for pair in part.items()]
            return [(key, inside) for key, inside in pairs if key not in hidden]
    return None


def _dense(name: str, value: Tensor) -> Tensor:
    """A dense, contiguous copy on the CPU."""
    if value.is_quantized:
        raise InputError(
            f"{printable(name)} is quantised: take the float weights from before quantisation"
        )
    if value.is_meta:
        raise InputError(
            f"{printable(name)} has a shape and no values: save the weights themselves"
        )
    if value.layout == torch.strided:
        if value.numel() * value.itemsize > value.untyped_storage().nbytes():
            raise InputError(f"{printable(name)} is larger than its storage")
        return value.clone(memory_format=torch.contiguous_format)
    # A sparse tensor of a wild shape would ask for all memory.
    stored = value.values() if value.layout != torch.sparse_coo else value._values()
    if value.numel() > 1000 * max(1, stored.numel()) and value.numel() > 1 << 28:
        raise InputError(f"{printable(name)} is sparse, of {value.numel():,} elements")
    return value.to_dense().contiguous()


def printable(text: str) -> str:
    """Text from a file, safe to print on one line."""
    return ascii(text)[1:-1][:100]
