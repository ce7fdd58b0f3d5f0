"""One-time conversion of a file of weights to safetensors.

    python -m trainables.checkpoints.convert IN OUT.safetensors [--drop] [--only PREFIX]

Some published checkpoints pickle objects of their authors' own classes beside the weights. This
takes the tensors and plain containers out of such a file without importing or calling anything that
the file names (foreign.py). A name that is neither is refused; with --drop, what it would make is
left out. --only keeps the tensors behind one name, where a file holds several networks.
"""

import argparse
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

from search_spaces.errors import InputError
from trainables.checkpoints import files, foreign
from trainables.checkpoints.contents import flattened, printable
from trainables.checkpoints.states import behind
from trainables.store import atomic
from trainables.store.tensors import to_bytes


def convert(
    source: Path, target: Path, drop: bool, only: str | None = None
) -> tuple[int, list[str]]:
    """Writes a file's tensors to `target`, all or those whose names begin with `only` and a dot:
    (number of tensors, what was left out).

    Raises InputError, having written nothing, if the file is refused.
    """
    if target.suffix != ".safetensors":
        raise InputError(f"{target} must end with .safetensors: that is what is written")
    try:
        try:
            content = files.content(source)
        except pickle.UnpicklingError:
            content = foreign.content(source, drop)
        tensors, left_out = flattened(content)
        if only is not None:
            tensors = {name: value for name, value in tensors.items() if behind(only, name)}
        if not tensors:
            raise InputError(f"it has no tensors behind {printable(only or '')}")
    except InputError as error:
        raise InputError(f"{source} is refused: {error}") from error
    try:
        atomic.write(target, to_bytes(tensors))
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error
    return len(tensors), left_out


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 where the file is refused."""
    parser = argparse.ArgumentParser(files.CONVERTER, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", metavar="IN", type=Path)
    parser.add_argument("target", metavar="OUT", type=Path, help="ends with .safetensors")
    parser.add_argument(
        "--drop", action="store_true", help="leave out what is not tensors, instead of refusing"
    )
    parser.add_argument("--only", metavar="PREFIX", help="keep only the tensors behind this name")
    given = parser.parse_args(arguments)
    try:
        count, dropped = convert(given.source, given.target, given.drop, given.only)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{given.target}: {count} tensors; dropped {len(dropped)} entries", end="")
    print(f": {', '.join(dropped)}" if dropped else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
