"""What a storage holds: the files of complete results, and how far a study is."""

import json
from pathlib import Path
from typing import Any

KINDS = ("thetas", "tickets", "transfers", "trials", "evidence")
CLOCKS = {"started", "ended", "seconds", "judged"}
"""Fields of results that say when they came about: no two runs have the same."""


def keys(root: Path, kind: str) -> set[str]:
    """The keys of a kind's complete results."""
    return {path.name for path in (root / kind).glob("[!.]*")}


def files(root: Path) -> dict[str, bytes]:
    """Every file of every complete result, by its path below the root."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for kind in (*KINDS, "weights")
        for path in sorted((root / kind).glob("[!.]*/*"))
    }


def comparable(root: Path) -> dict[str, Any]:
    """As `files`, without wall-clock times and the sums over them: the same from any run."""
    contents: dict[str, Any] = dict(files(root))
    for name, content in contents.items():
        if name.endswith("/result.json"):
            contents[name] = _without_clocks(json.loads(content))
        elif name.endswith("/SHA256SUMS"):
            lines = content.decode().splitlines()
            contents[name] = [line for line in lines if not line.endswith("  result.json")]
    return contents


def _without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_clocks(v) for k, v in value.items() if k not in CLOCKS}
    return [_without_clocks(v) for v in value] if isinstance(value, list) else value


def logs(root: Path) -> str:
    """All that a run has put into its logs: what a failed test shows."""
    paths = sorted((root / "logs").glob("*"))
    return "".join(path.read_text(errors="replace") for path in paths if path.is_file())
