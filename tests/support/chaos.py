"""Kills a running study at seeded moments, runs it again until it ends, and counts what that cost.

Nothing here asserts: `test_chaos.py` does.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tests.support.chaos_place import Place, lost, overlapping, repeated, trained_again
from tests.support.chaos_processes import AGENTS, STAGES, Driver, Server, gone

ENDS_THE_RUN = {"driver", "raylet", "gcs"}
"""After these the harness waits for the end of the run, and runs it again."""

PATIENCE = 300.0
"""Seconds in which a driver must go on or end, whatever has been killed."""


@dataclass(frozen=True)
class Kill:
    """One kill to come: in a stage, once so much of the study is done (see Place), and `delay`
    seconds later, or as soon after as the stage has such a process."""

    stage: str
    kind: str
    after: int
    delay: float


@dataclass(frozen=True)
class Killed:
    """One kill as it came. Seconds until a driver that cannot go on had ended, and until the last
    process below it was gone but Ray's agents; hung: it had to be killed too."""

    stage: str
    kind: str
    ending: float = 0.0
    orphans: float = 0.0
    hung: bool = False


def draw(
    rng: random.Random,
    wanted: Iterable[tuple[str, str]],
    spans: Mapping[str, tuple[int, int]],
) -> list[Kill]:
    """A kill of each wanted (stage, kind) at a random moment of the stage. spans: how much of the
    study is done when a stage begins and ends."""
    longest = {"start": 6.0, "conclusion": 3.0}
    return [
        Kill(stage, kind, rng.randrange(*spans[stage]), rng.uniform(0, longest.get(stage, 1.5)))
        for stage, kind in wanted
    ]


@dataclass
class Campaign:
    """A study run in one place under kills until it ends.

    kept: the files of results that were complete before a kill, as they were then; ends: the exit
    code of every launch; out: what the last one printed; unspent: kills for which there was no
    process in time.
    """

    place: Place
    random: random.Random
    server: Server | None = None
    kills: list[Killed] = field(default_factory=list)
    unspent: list[Kill] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    ends: list[int | None] = field(default_factory=list)
    out: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _watchers: list[threading.Thread] = field(default_factory=list)

    def run(self, kills: Iterable[Kill]) -> "Campaign":
        """Launches the command again and again until it ends well. Raises RuntimeError if it ends
        otherwise without a kill."""
        started = time.monotonic()
        waiting = sorted(kills, key=lambda kill: (kill.after, STAGES.index(kill.stage)))
        while self.ends[-1:] != [0]:
            struck = len(self.kills)
            self._launch(waiting)
            if len(self.kills) == struck and self.ends[-1] != 0:
                raise RuntimeError("\n".join(["failed by itself:", *self.out, self.place.logs()]))
        for watcher in self._watchers:
            watcher.join()
        self.unspent += waiting
        self.seconds = time.monotonic() - started
        return self

    def _launch(self, waiting: list[Kill]) -> None:
        """One launch of the command, and the kills that come while it runs."""
        if self.server:
            self.server.start()
        driver = Driver(self.place)
        done = self.place.done()
        kills = [k for k in waiting if k.stage == "start" and k.after <= done][:1]
        kills += [k for k in waiting if k.stage != "start"]
        for kill in kills:
            due = partial(self._due, driver, kill)
            if not driver.alive or until(due, lambda: driver.alive) is None:
                break
            waiting.remove(kill)
            time.sleep(kill.delay)
            self._strike(driver, kill)
        self.ends.append(self._end(driver))
        self.out = driver.lines

    def _due(self, driver: Driver, kill: Kill) -> bool:
        reached = STAGES.index(driver.stage) >= STAGES.index(kill.stage)
        return reached and self.place.done() >= kill.after

    def _strike(self, driver: Driver, kill: Kill) -> None:
        """Kills one process of the kind, chosen by the seed; waits for one while the stage lasts,
        and for the end of a run that cannot go on."""

        def there() -> bool:
            return driver.alive and driver.stage == kill.stage

        if kill.kind == "mlflow":
            victims = [0] if self.server and driver.alive else []
        else:
            victims = until(lambda: driver.victims(kill.kind), there)
        if not victims or not driver.alive:
            self.unspent.append(kill)
            return
        below = {pid: it for pid, it in driver.below().items() if it[1] not in AGENTS}
        self.kept |= self.place.complete()
        killed = Killed(driver.stage, kill.kind)
        started = time.monotonic()
        if kill.kind == "mlflow":
            self.server.kill()
        else:
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(victims), signal.SIGKILL)
        self.kills.append(killed)
        if kill.kind in ENDS_THE_RUN:
            self._end(driver)
            self.kills[-1] = replace(self.kills[-1], ending=time.monotonic() - started)
            # The next run is started at once, whatever is left of this one.
            watcher = threading.Thread(
                target=self._watch, args=(len(self.kills) - 1, below, started)
            )
            watcher.start()
            self._watchers.append(watcher)

    def _end(self, driver: Driver) -> int | None:
        """The exit code of a driver that is to end by itself. One that does not is killed."""
        code = driver.end(PATIENCE)
        if code is None:
            driver.process.kill()
            driver.end(PATIENCE)
            if not self.kills:
                raise TimeoutError("\n".join(driver.lines))
            self.kills[-1] = replace(self.kills[-1], hung=True)
        return code

    def _watch(self, place: int, below: dict[int, tuple[str, str]], started: float) -> None:
        until(lambda: gone(below), lambda: time.monotonic() < started + PATIENCE)
        self.kills[place] = replace(self.kills[place], orphans=time.monotonic() - started)


def until(
    condition: Callable[[], Any], alive: Callable[[], bool], seconds: float = PATIENCE
) -> Any:
    """The first truth that `condition` gives; None when `alive` ends before it. Raises TimeoutError
    after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if not alive():
            return None
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def figures(campaigns: Iterable[Campaign]) -> str:
    """The numbers of several campaigns, for people."""
    campaigns = list(campaigns)
    kills = [kill for campaign in campaigns for kill in campaign.kills]
    count = Counter((kill.kind, kill.stage) for kill in kills)
    launches = sum(len(campaign.ends) for campaign in campaigns)
    again = [r for c in campaigns for r in repeated(c.place.events())]
    gone = [name for c in campaigns for name in lost(c.place, c.kept)]
    retrained = [key for c in campaigns for key in trained_again(c.place)]
    twice = [key for c in campaigns for key in overlapping(c.place.events())]

    def most(values: Iterable[float]) -> float:
        return max(values, default=0)

    return "\n".join(
        [
            f"{len(kills)} kills, {len(campaigns)} campaigns, {launches} launches, "
            f"{sum(c.seconds for c in campaigns):.0f} s; kills that found no process in time: "
            f"{sum(len(c.unspent) for c in campaigns)}",
            f"{'':10}" + "".join(f"{stage:>12}" for stage in STAGES),
            *(
                f"{kind:10}" + "".join(f"{count[kind, stage]:12}" for stage in STAGES)
                for kind in sorted({kill.kind for kill in kills})
            ),
            f"lost files: {len(gone)}; trained again though complete: {len(retrained)}; "
            f"trained by two at once: {len(twice)}; hung drivers: {sum(k.hung for k in kills)}",
            f"interrupted trainings: {len(again)}; epochs repeated, whole or in part: "
            f"{sum(r.epochs for r in again)}, at most {most(r.epochs for r in again)} after one "
            f"interruption; whole ones: {sum(r.seconds for r in again):.1f} s",
            f"a run that could not go on ended at most {most(k.ending for k in kills):.1f} s after "
            f"the kill, its last process at most {most(k.orphans for k in kills):.1f} s after it",
        ]
    )
