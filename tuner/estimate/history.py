"""What finished transfers and runs took: it corrects the next estimate.

Transfers say it themselves, in the ledger. Whole runs are lines of `runs.jsonl` beside them.
"""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from search_spaces.spec import Transfer
from trainables.estimate.work import TransferKind, transfer_kind
from trainables.store.ledger import Ledger
from tuner.storage.entries import seconds

FILE = "runs.jsonl"
# The newest transfers tell how fast this machine is now, and reading them stays quick.
_NEWEST = 400


@dataclass(frozen=True)
class RunRecord:
    """One run: estimated and measured wall time, in seconds, and what its parts cost.

    estimated: (low, middle, high), None where nothing was known; model: what the steps of the
    source stage alone were thought to take; between: what a transfer cost beyond its own time.
    Parts that a run did not have are None. disturbed: other programs kept the CPU busy when it
    began, so that its times say little of the machine.
    """

    study: str
    ended: float
    host: str
    device: str
    estimated: tuple[float, float, float] | None
    wall: float
    source: float | None
    source_model: float | None
    transfers: float | None
    between: float | None
    results: int
    failures: int
    disturbed: bool

    @property
    def rest(self) -> float:
        """Start-up and conclusion."""
        return self.wall - (self.source or 0.0) - (self.transfers or 0.0)


@dataclass(frozen=True)
class History:
    """Seconds of finished transfers by kind, and earlier runs, of one host and device, but for
    runs that failed or were disturbed and the transfers that ended during the latter."""

    trials: dict[TransferKind, list[float]]
    runs: list[RunRecord]

    def typical(self, name: str) -> float | None:
        """The median of a field over the latest runs that have it."""
        values = [getattr(run, name) for run in self.runs]
        values = [value for value in values if value is not None][-5:]
        return median(values) if values else None

    @property
    def source_ratios(self) -> list[float]:
        """Measured over modelled time of source stages."""
        pairs = [(run.source, run.source_model) for run in self.runs]
        return [took / model for took, model in pairs if took and model][-5:]


def history(ledger: Ledger, device: str) -> History:
    """What this host has done on a kind of device, as far as the ledger tells."""
    host = socket.gethostname()
    runs = [run for run in records(ledger.root) if (run.host, run.device) == (host, device)]
    disturbed = [(run.ended - run.wall, run.ended) for run in runs if run.disturbed]
    trials: dict[TransferKind, list[float]] = {}
    for folder in _newest(ledger.root / "transfers"):
        try:
            result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
            # Settings that are None are not written, and the dense network's pruning is.
            spec["ticket"].setdefault("pruning", None)
            took = seconds(result)
            if (result["host"], result["device"]) != (host, device):
                continue
            if not any(start <= result["ended"] <= end for start, end in disturbed):
                kind = transfer_kind(Transfer.model_validate(spec))
                trials.setdefault(kind, []).append(took)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # What another version wrote, or an unfinished copy, says nothing here.
    return History(trials, [run for run in runs if not run.failures and not run.disturbed])


def _newest(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            dated = [(e.stat().st_mtime, e.path) for e in entries if e.name[0] != "."]
    except OSError:
        return
    yield from (Path(path) for _, path in islice(sorted(dated, reverse=True), _NEWEST))


def records(root: Path) -> list[RunRecord]:
    """The runs recorded at a storage, oldest first; lines that are not records are passed over."""
    try:
        lines = (root / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(RunRecord(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def keep(record: RunRecord, root: Path) -> None:
    """Adds a run to those recorded at a storage."""
    with (root / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record)) + "\n")
