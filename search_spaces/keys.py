"""Names from content: every result is stored under the key of its spec."""

import hashlib
import json
from typing import Any

from search_spaces.base import UNHASHED, Spec


def canonical(spec: Spec) -> str:
    """JSON of a spec with sorted keys and no white space; equal specs give equal text.

    Fields that are None are left out: an optional setting that is absent does not enter the key,
    so a new optional feature leaves the keys of studies that do not use it as they were. So are
    paths: they say where something is, and its checksum says what.
    """
    return json.dumps(_content(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _content(value: Any) -> Any:
    if isinstance(value, Spec):
        return {
            name: _content(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if getattr(value, name) is not None and field.json_schema_extra != UNHASHED
        }
    if isinstance(value, dict):
        return {name: _content(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_content(item) for item in value]
    return value


def key(spec: Spec) -> str:
    """Content key of a spec: 16 hexadecimal digits of the sha256 of its kind and canonical JSON.

    A child's spec holds its parent's whole spec (a transfer its ticket, a ticket its theta), so a
    child's key changes whenever its parent's does.
    """
    text = f"{type(spec).__name__}:{canonical(spec)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
