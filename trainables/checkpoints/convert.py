"""One-time conversion of a torch file that is not read otherwise, to safetensors.

    python -m trainables.convert IN OUT.safetensors [--drop]

Some published checkpoints pickle objects of their authors' own classes beside the weights. This
takes the tensors and plain containers out of such a file without importing or calling anything that
the file names (torch_files.py). A name that is neither is refused; with --drop, what it would make
is left out.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from search_spaces.errors import InputError
from trainables.checkpoints.torch_files import Inert, content, printable
from trainables.store import atomic
from trainables.store.tensors import to_bytes


def flattened(found: object) -> tuple[dict[str, Tensor], list[str]]:
    """(tensors by name, what is left out): keys of nested containers are joined by dots.

    Left out are scalars, placeholders, and a container's second and later occurrences (so that
    one which holds itself, or itself twice, comes to an end). Raises InputError where two tensors
    would have one name, or there are none.
    """
    tensors: dict[str, Tensor] = {}
    dropped: list[str] = []
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], object]] = [((), found)]
    while waiting:
        keys, value = waiting.pop()
        name = ".".join(keys)
        items = _items(value)
        if isinstance(value, Tensor):
            if name in tensors:
                raise InputError(f"two tensors would be called {printable(name)}")
            tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
        elif items is None or id(value) in seen:
            kind = value.origin if isinstance(value, Inert) else type(value).__name__
            dropped.append(f"{printable(name)} ({kind})")
        elif items:
            seen.add(id(value))
            waiting += [((*keys, str(key)), inside) for key, inside in reversed(items)]
    if not tensors:
        raise InputError("it holds no tensors")
    return tensors, dropped


def _items(value: object) -> list[tuple[object, object]] | None:
    """A plain container's (key, value) pairs; None for anything else."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    return None


def convert(source: Path, target: Path, drop: bool) -> tuple[int, list[str]]:
    """Writes a torch file's tensors to `target`: (number of tensors, what was left out).

    Raises InputError, having written nothing, if the file is refused.
    """
    if target.suffix != ".safetensors":
        raise InputError(f"{target} must end with .safetensors: that is what is written")
    found = content(source, drop)
    try:
        tensors, dropped = flattened(found)
    except InputError as error:
        raise InputError(f"{source} is refused: {error}") from error
    try:
        atomic.write(target, to_bytes(tensors))
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error
    return len(tensors), dropped


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 where the file is refused."""
    parser = argparse.ArgumentParser("python -m trainables.convert", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", metavar="IN", type=Path)
    parser.add_argument("target", metavar="OUT", type=Path, help="ends with .safetensors")
    parser.add_argument(
        "--drop", action="store_true", help="leave out what is not tensors, instead of refusing"
    )
    given = parser.parse_args(arguments)
    try:
        count, dropped = convert(given.source, given.target, given.drop)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{given.target}: {count} tensors; dropped {len(dropped)} entries", end="")
    print(f": {', '.join(dropped)}" if dropped else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
