"""What whole runs took, against what was expected of them: lines of `runs.jsonl` at the storage."""

import json
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "runs.jsonl"
_LATEST = 5


@dataclass(frozen=True)
class RunRecord:
    """A run without failures: seconds as they were modelled beforehand, and as they were."""

    study: str
    ended: float
    host: str
    device: str
    modelled: float
    took: float


def records(root: Path) -> list[RunRecord]:
    """The runs recorded at a storage, oldest first; lines that are not records are passed over."""
    try:
        lines = (root / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    kept = []
    for line in lines:
        try:
            kept.append(RunRecord(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return kept


def ratios(root: Path, device: str) -> list[float]:
    """Measured over modelled time of the latest runs on this host's devices of a kind."""
    here = [r for r in records(root) if (r.host, r.device) == (socket.gethostname(), device)]
    return [record.took / record.modelled for record in here[-_LATEST:]]


def keep(study: str, device: str, modelled: float, took: float, root: Path) -> None:
    """Adds a run to those recorded at a storage."""
    record = RunRecord(study, time.time(), socket.gethostname(), device, modelled, took)
    with (root / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record)) + "\n")
