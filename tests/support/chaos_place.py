"""A folder in which a study runs: its results, the log of its epochs, and what those show."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

FOLDERS = ("thetas", "tickets", "transfers", "trials", "evidence")
CLOCKS = {"started", "ended", "seconds"}
"""Fields of results that hold wall-clock times: no two runs have the same."""


@dataclass(frozen=True)
class Event:
    """One line of the epochs' log."""

    key: str
    attempt: str
    what: str
    number: int
    seconds: float
    time: float


@dataclass(frozen=True)
class Place:
    """A folder in which a study is run by one command, and the environment it is run in."""

    folder: Path
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "results"

    @property
    def log(self) -> Path:
        return self.folder / "epochs.jsonl"

    def events(self) -> list[Event]:
        if not self.log.exists():
            return []
        return [Event(*json.loads(line)) for line in self.log.read_text().splitlines()]

    def done(self) -> int:
        """How far the study is: different epochs that have ended, and results that are complete."""
        epochs = {(e.key, e.number) for e in self.events() if e.what == "ended"}
        return len(epochs) + sum(len(list(self.results(kind))) for kind in FOLDERS)

    def results(self, kind: str) -> Iterable[Path]:
        """The folders of a kind's complete results."""
        return (self.root / kind).glob("[!.]*")

    def complete(self) -> dict[str, str]:
        """Every file of every complete result -> its sha256."""
        return {name: hashlib.sha256(text).hexdigest() for name, text in self.files().items()}

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for kind in FOLDERS
            for folder in self.results(kind)
            for path in folder.iterdir()
        }

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.root.glob("logs/*"))


@dataclass(frozen=True)
class Repeated:
    """What a training repeated after one interruption: epochs, whole or in part, from the first
    that was trained again; seconds of those of them that had ended."""

    key: str
    epochs: int
    seconds: float
    longest: float


def repeated(events: Iterable[Event]) -> list[Repeated]:
    """Every interruption of a training, in the log of its epochs."""
    found = []
    for key, attempts in _attempts(events).items():
        for before, after in pairwise(attempts):
            first = after[0].number
            again = [e for e in before if e.number >= first]
            ended = [e.seconds for e in again if e.what == "ended"]
            begun = len({e.number for e in again})
            longest = max((e.seconds for a in attempts for e in a), default=0.0)
            found.append(Repeated(key, begun, sum(ended), longest))
    return found


def overlapping(events: Iterable[Event]) -> list[str]:
    """Trainings that two processes worked on at once: a killed run's processes outlived it."""
    return [
        key
        for key, attempts in _attempts(events).items()
        for before, after in pairwise(attempts)
        if before[-1].time > after[0].time
    ]


def _attempts(events: Iterable[Event]) -> dict[str, list[list[Event]]]:
    """Each training's events, attempt by attempt, in the order in which those began."""
    found: dict[str, dict[str, list[Event]]] = {}
    for event in events:
        found.setdefault(event.key, {}).setdefault(event.attempt, []).append(event)
    return {key: list(attempts.values()) for key, attempts in found.items()}


def trained_again(place: Place) -> list[str]:
    """Trainings that were begun although their result was complete."""
    complete = {path.name: path.stat().st_mtime for kind in FOLDERS for path in place.results(kind)}
    begun = [event for event in place.events() if event.what == "begins"]
    return sorted({e.key for e in begun if e.time > complete.get(e.key, e.time)})


def lost(place: Place, kept: Mapping[str, str]) -> list[str]:
    """Files of results that were complete once and are gone or changed."""
    now = place.complete()
    return [name for name, digest in kept.items() if now.get(name) != digest]


def comparable(place: Place) -> dict[str, Any]:
    """Every file of the ledger, without wall-clock times and the sums over them."""
    found: dict[str, Any] = {}
    for name, content in place.files().items():
        if name.endswith("/result.json"):
            found[name] = _without_clocks(json.loads(content))
        elif name.endswith("/SHA256SUMS"):
            lines = content.decode().splitlines()
            found[name] = [line for line in lines if not line.endswith("  result.json")]
        else:
            found[name] = content
    return found


def _without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_clocks(v) for k, v in value.items() if k not in CLOCKS}
    return [_without_clocks(v) for v in value] if isinstance(value, list) else value


def verdict(out: Iterable[str]) -> list[str]:
    """The printed tables: from their first header to the advice at the end."""
    lines = list(out)
    start = next((i for i, line in enumerate(lines) if line.startswith("theta")), len(lines))
    rest = lines[start:]
    last = ("Next:", "MLflow lacks")
    end = next((i for i, line in enumerate(rest) if line.startswith(last)), len(rest))
    # An empty line stands before each of the two.
    return [line for line in rest[:end] if line]
