"""Names from content: every result is stored under the key of its spec."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from search_spaces.base import UNHASHED, Spec


def canonical(spec: Spec) -> str:
    """JSON of a spec with sorted keys and no white space; equal specs give equal text.

    Fields that are None are left out: an optional setting that is absent does not enter the key,
    so a new optional feature leaves the keys of studies that do not use it as they were. So are
    paths: they say where something is, and its checksum says what.
    """
    return _text(spec, {})


def key(spec: Spec) -> str:
    """Content key of a spec: 16 hexadecimal digits of the sha256 of its kind and canonical JSON.

    A child's spec holds its parent's whole spec (a transfer its ticket, a ticket its theta), so a
    child's key changes whenever its parent's does.
    """
    return keys([spec])[0]


def keys(specs: Sequence[Spec]) -> list[str]:
    """The key of each spec; a parent that several of them share is written out once.

    Ten thousand transfers of one study take half a second, one by one they take three.
    """
    memo: dict[int, str] = {}
    texts = (f"{type(spec).__name__}:{_text(spec, memo)}" for spec in specs)
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]


def _text(value: Any, memo: dict[int, str]) -> str:
    """Canonical JSON; `memo` holds that of specs by id, while they are alive."""
    if isinstance(value, Spec):
        if id(value) not in memo:
            memo[id(value)] = _text(_fields(value), memo)
        return memo[id(value)]
    if isinstance(value, dict):
        items = (f"{json.dumps(name)}:{_text(value[name], memo)}" for name in sorted(value))
        return "{" + ",".join(items) + "}"
    if isinstance(value, tuple):
        return "[" + ",".join(_text(item, memo) for item in value) + "]"
    return json.dumps(value, allow_nan=False)


def _fields(spec: Spec) -> dict[str, Any]:
    return {
        name: getattr(spec, name)
        for name, field in type(spec).model_fields.items()
        if getattr(spec, name) is not None and field.json_schema_extra != UNHASHED
    }
