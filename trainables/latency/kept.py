"""Measured speeds of tickets and transfers, beside the ledger: each the last that was measured."""

import json
from pathlib import Path
from typing import Any

from search_spaces.errors import InputError
from trainables.store import atomic

_FOLDER = "latency"


def keep(root: Path, key: str, record: dict[str, Any]) -> Path:
    """Keeps what was measured of a key, in place of what there is; where. Raises InputError if it
    cannot be written."""
    path = root / _FOLDER / f"{key}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        atomic.write(path, json.dumps(record, indent=1))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def kept(root: Path, keys: set[str]) -> dict[str, dict[str, Any]]:
    """By key, what was last measured of those of `keys` that were."""
    paths = sorted((root / _FOLDER).glob("[!.]*.json"))
    return {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in paths if p.stem in keys}
