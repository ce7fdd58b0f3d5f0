"""Code of the user's own, named package.module:object: where it stands and what it is.

An installed package offers it by a shorter name, an entry point of one of GROUPS; a study that says
the name is read as if it said the object's. Nothing here imports it: a study can be read and its
keys computed where torch is not.
"""

import hashlib
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from search_spaces.errors import InputError

GROUPS = {
    "networks": "double_win.networks",
    "criteria": "double_win.criteria",
    "attacks": "double_win.attacks",
    "datasets": "double_win.datasets",
}
"""What can be offered -> the group of its entry points."""


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


@dataclass(frozen=True)
class Plugin:
    """A name and the package.module:object that it stands for; package: what offers it, with its
    version."""

    name: str
    target: str
    package: str


def offered(what: str) -> dict[str, Plugin]:
    """Name -> plugin, of one of GROUPS, in the order of the names. Raises InputError where two
    packages offer one name."""
    found: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=GROUPS[what]), key=lambda entry: entry.name):
        plugin = Plugin(entry.name, entry.value.replace(" ", ""), _package(entry))
        other = found.setdefault(entry.name, plugin)
        if other != plugin:
            raise InputError(
                f"{GROUPS[what]}: {other.package} and {plugin.package} both offer {entry.name}: "
                "write package.module:object instead, or uninstall one"
            )
    return found


def meant(what: str, name: str) -> str | None:
    """The package.module:object that a name stands for; None where no package offers it."""
    plugin = offered(what).get(name)
    return plugin.target if plugin else None


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
