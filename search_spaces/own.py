"""Code of the user's own, named package.module:object: where it stands and what it is.

Nothing here imports it: a study can be read and its keys computed where torch is not.
"""

import hashlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from search_spaces.errors import InputError


def is_own(name: str) -> bool:
    """Does a name mean the user's own code, and nothing built in?"""
    return ":" in name


def source(name: str) -> Path:
    """The file that package.module:object stands in, looked for as Python does, the working folder
    last. Raises InputError where there is none."""
    module = name.partition(":")[0]
    folders: list[str] | None = [*sys.path, str(Path.cwd())]
    found: ModuleSpec | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        found = PathFinder.find_spec(".".join(parts[:count]), folders)
        if found is None:
            raise InputError(
                f"{name}: there is no module {'.'.join(parts[:count])}: write "
                "package.module:object, and run where Python finds it or install it"
            )
        folders = list(found.submodule_search_locations or [])
    file = Path(found.origin) if found and found.origin else None
    if file is None or file.suffix != ".py":
        raise InputError(f"{name}: {module} has no Python source: name the .py file's module")
    return file


def digest(name: str) -> str:
    """Hexadecimal SHA-256 of the file that package.module:object stands in: that file alone, not
    what it imports. Raises InputError where there is none."""
    file = source(name)
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{name}: {file}: cannot be read: {error.strerror}") from None
