"""Kills a running study at seeded moments, and runs it again until it ends."""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support import epochs, storage
from tests.support.commands import STAGES, Command, Ended
from tests.support.mlflow_server import Server
from tests.support.paths import HOOKS, ROOT

KINDS = {
    "worker": "ray::RayTrainWorker",
    "controller": "ray::TrainController",
    "actor": "ray::ImplicitFunc",
    "task": "ray::gather",
    "raylet": "raylet",
    "gcs": "gcs_server",
}
"""Kinds of process below a command, by how their command line begins or what they are called."""
FATAL = {"driver", "raylet", "gcs"}
"""After these the command ends by itself: the next one goes on."""


@dataclass(frozen=True)
class Place:
    """A folder in which a command works on a study; its epochs are written down there."""

    folder: Path
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "results"

    @property
    def log(self) -> list[epochs.Event]:
        return epochs.events(self.folder / "epochs.jsonl")

    @property
    def done(self) -> int:
        return epochs.done(self.folder / "epochs.jsonl", self.root)

    def start(self) -> Command:
        return Command(*self.command, cwd=self.folder, **{**self.counted(), **self.environment})

    def counted(self) -> dict[str, str]:
        """The environment in which epochs are written down, and progress is kept after each: then
        no kill may cost more than one."""
        log = self.folder / "epochs.jsonl"
        return {"PYTHONPATH": f"{HOOKS}:{ROOT}", "COUNT_TO": str(log), "KEEP_SECONDS": "0"}


@dataclass(frozen=True)
class Kill:
    """One kill to come: in a stage, once so much of the study is done, and `delay` seconds later,
    or as soon after as the stage has such a process."""

    stage: str
    kind: str
    after: int
    delay: float


def draw(
    rng: random.Random, wanted: Iterable[str], spans: Mapping[str, tuple[int, int]]
) -> list[Kill]:
    """A kill of each wanted "STAGE KIND" at a random moment of the stage, in their order.

    spans: how much of the study is done when a stage begins and ends.
    """
    kills = [
        Kill(stage, kind, rng.randrange(*spans[stage]), rng.uniform(0, 1.5))
        for stage, kind in map(str.split, wanted)
    ]
    return sorted(kills, key=lambda kill: (kill.after, STAGES.index(kill.stage)))


@dataclass(frozen=True)
class Story:
    """How a study under kills came to its end: the kills that found a process in time, the files
    that were complete before the last of them, and what the last command printed."""

    struck: tuple[Kill, ...]
    kept: Mapping[str, bytes]
    ended: Ended


def run(
    place: Place, kills: Iterable[Kill], rng: random.Random, server: Server | None = None
) -> Story:
    """Gives the command again and again until it ends well; fails if it ends otherwise without a
    kill, or does not end. server: MLflow's, started before each."""
    waiting, struck, kept = list(kills), [], {}
    while True:
        if server:
            server.start()
        before = len(struck)
        with place.start() as command:
            while waiting and _reached(command, place, waiting[0]):
                kill = waiting.pop(0)
                time.sleep(kill.delay)
                complete = storage.files(place.root)
                if strike := _strike(command, kill, rng, server):
                    kept |= complete
                    struck.append(kill)
                    with suppress(psutil.NoSuchProcess):
                        strike()
                    if kill.kind in FATAL:
                        break
            ended = command.end()
        if ended.code == 0:
            return Story(tuple(struck), kept, ended)
        assert len(struck) > before, f"failed by itself:\n{ended.out}{ended.err}"


def _reached(command: Command, place: Place, kill: Kill) -> bool:
    """Waits for a kill's moment; False if the command ends before it."""
    while not command.has_come_to(kill.stage) or place.done < kill.after:
        if not command.alive:
            return False
        time.sleep(0.05)
    return True


def _strike(
    command: Command, kill: Kill, rng: random.Random, server: Server | None
) -> Callable[[], None] | None:
    """What kills one process of the kind; waits for one while the stage lasts, else None."""
    while command.alive and command.is_in(kill.stage):
        if kill.kind == "mlflow" and server:
            return server.kill
        if kill.kind == "driver":
            return command.process.kill
        if victims := [p for p in command.below() if _is(p, kill.kind)]:
            return rng.choice(sorted(victims, key=lambda p: p.pid)).kill
        time.sleep(0.05)
    return None


def _is(process: psutil.Process, kind: str) -> bool:
    try:
        line = process.cmdline()
    except psutil.Error:
        return False
    name = line[0] if line else ""
    return name.startswith(KINDS[kind]) or Path(name.split(" ")[0]).name == KINDS[kind]
