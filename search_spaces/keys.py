"""Names from content: every result is stored under the key of its spec."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic.fields import FieldInfo

from search_spaces.base import LATER, UNHASHED, Spec

# Canonical JSON of specs that are parts of others, by id: all transfers of a study share a few
# hundred. Holding the spec keeps its id from becoming another's; specs never change.
_parts: dict[int, tuple[Spec, str]] = {}
MOST_PARTS = 4096
"""Of so many specs at the most the text is remembered."""


def canonical(spec: Spec) -> str:
    """JSON of a spec with sorted keys and no white space; equal specs give equal text.

    Fields that are None are left out: an optional setting that is absent does not enter the key,
    so a new optional feature leaves the keys of studies that do not use it as they were. So are
    fields marked LATER at their default, and paths: they say where something is, and its checksum
    says what.
    """
    return _text(_fields(spec))


def key(spec: Spec) -> str:
    """Content key of a spec: 16 hexadecimal digits of the sha256 of its kind and canonical JSON.

    A child's spec holds its parent's whole spec (a transfer its ticket, a ticket its theta), so a
    child's key changes whenever its parent's does.
    """
    text = f"{type(spec).__name__}:{canonical(spec)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keys(specs: Sequence[Spec]) -> list[str]:
    """The key of each spec."""
    return [key(spec) for spec in specs]


def _text(value: Any) -> str:
    """Canonical JSON."""
    if isinstance(value, Spec):
        return _part(value)
    if isinstance(value, dict):
        items = (f"{json.dumps(name)}:{_text(value[name])}" for name in sorted(value))
        return "{" + ",".join(items) + "}"
    if isinstance(value, tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return json.dumps(value, allow_nan=False)


def _part(spec: Spec) -> str:
    known = _parts.get(id(spec))
    if known is None:
        known = spec, _text(_fields(spec))
        if len(_parts) >= MOST_PARTS:
            _parts.clear()
        _parts[id(spec)] = known
    return known[1]


def _fields(spec: Spec) -> dict[str, Any]:
    return {
        name: getattr(spec, name)
        for name, field in type(spec).model_fields.items()
        if getattr(spec, name) is not None and _enters(field, getattr(spec, name))
    }


def _enters(field: FieldInfo, value: Any) -> bool:
    """Does a field's value enter the key?"""
    marked = field.json_schema_extra
    return marked != UNHASHED and not (marked == LATER and value == field.default)
