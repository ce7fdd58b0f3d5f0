"""Loading code of the user's own, named package.module:object in a study."""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from search_spaces import own
from search_spaces.errors import InputError


def load(name: str, sha256: str | None = None) -> Callable[..., Any]:
    """What package.module:object names, imported from the very source that a study means.

    Raises InputError where it cannot be imported, is nothing that can be called, or its file's
    digest is another than `sha256`: it has changed since the study was read.
    """
    module, _, attribute = name.partition(":")
    now = own.digest(name)
    if sha256 not in (None, now):
        raise InputError(
            f"{name}: {own.source(name)} has sha256 {now}, the study says {sha256}: it has changed "
            "since: run the study again, or put back what it was"
        )
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # Whatever the user's module raises while it is imported.
        raise InputError(f"{name}: cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InputError(f"{name}: is no function or class: name one that can be called")
    called: Callable[..., Any] = found
    return called


def packages(names: Iterable[str]) -> dict[str, str]:
    """package.module:object -> the installed package it is of, with its version; of what no package
    has installed there is nothing."""
    tops = {name: name.partition(":")[0].partition(".")[0] for name in names}
    if not tops:
        return {}
    installed = _installed(tuple(sys.path))
    return {
        name: f"{installed[top][0]} {version(installed[top][0])}"
        for name, top in tops.items()
        if top in installed
    }


@cache
def _installed(path: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Top-level module -> the packages that it is of, on a path of Python's: looked for once, as
    every result asks."""
    return packages_distributions()
