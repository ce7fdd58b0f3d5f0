"""The log that `hooks/sitecustomize.py` keeps of every epoch, and what it shows."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.support.storage import KINDS


@dataclass(frozen=True)
class Event:
    """An epoch began or ended: of which training, in which attempt at it, when."""

    key: str
    attempt: str
    what: str
    number: int
    time: float


def events(log: Path) -> list[Event]:
    """A log's lines, in the order in which they were written."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [Event(*json.loads(line)) for line in lines]


def done(log: Path, root: Path) -> int:
    """How far a study is: different epochs that have ended, and results that are complete."""
    epochs = {(e.key, e.number) for e in events(log) if e.what == "ended"}
    return len(epochs) + sum(len(list((root / kind).glob("[!.]*"))) for kind in KINDS)


def attempts(log: Iterable[Event]) -> dict[str, list[list[Event]]]:
    """Each training's events, attempt by attempt, in the order in which those began."""
    by_key: dict[str, dict[str, list[Event]]] = {}
    for event in log:
        by_key.setdefault(event.key, {}).setdefault(event.attempt, []).append(event)
    return {key: list(each.values()) for key, each in by_key.items()}


def repeated(log: Iterable[Event]) -> list[int]:
    """Epochs, whole or in part, that were trained twice, for every interruption of a training."""
    return [
        len({event.number for event in before if event.number >= after[0].number})
        for each in attempts(log).values()
        for before, after in pairwise(each)
    ]


def overlapping(log: Iterable[Event]) -> list[str]:
    """Trainings that two processes worked on at once."""
    return [
        key
        for key, each in attempts(log).items()
        for before, after in pairwise(each)
        if before[-1].time > after[0].time
    ]


def trained_again(log: Iterable[Event], root: Path) -> list[str]:
    """Trainings that were begun although their result was complete."""
    complete = {p.name: p.stat().st_mtime for kind in KINDS for p in (root / kind).glob("[!.]*")}
    begun = [event for event in log if event.what == "begins"]
    return sorted({e.key for e in begun if e.time > complete.get(e.key, e.time)})
