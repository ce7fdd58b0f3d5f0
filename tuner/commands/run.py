"""python -m tuner run: source and transfer stage, side by side, and the verdict."""

import time
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from search_spaces.study import Study
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster.capacity import Capacity, cluster
from tuner.estimate import cost, packing, prices
from tuner.estimate.cost import Estimate
from tuner.options import (
    AddressOpt,
    CpusOpt,
    DataOpt,
    EventsOpt,
    GpusOpt,
    KeepOpt,
    SetOpt,
    StorageOpt,
    StudyArg,
    WithOpt,
    WorkersOpt,
    asked,
    load,
)
from tuner.runtime.console import duration
from tuner.runtime.progress import waiting
from tuner.runtime.settings import Origin, Settings, rerun
from tuner.scheduling.worklist import Worklist, worklist
from tuner.stages import confirmation
from tuner.stages.conclusion import Conclusion, conclude, free_others, from_ledger
from tuner.stages.session import Session, check, session
from tuner.storage import failures, inputs, keeping, state
from tuner.storage.entries import transfer_entry
from tuner.storage.failures import FailureReason
from tuner.tracking.tracker import Tracker

if TYPE_CHECKING:
    from tuner.stages.source import Sources


def run(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    address: AddressOpt = None,
    workers: WorkersOpt = None,
    cpus: CpusOpt = 1.0,
    gpus: GpusOpt = None,
    settle: Annotated[
        bool, typer.Option("--settle", help="Adaptive levels: go on until the verdict is settled.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Also try again what failed twice with one error."),
    ] = False,
    keep_weights: KeepOpt = None,
    events: EventsOpt = None,
) -> None:
    """Run a study: do what is not complete yet, then print the verdict.

    Running again resumes: finished pre-trainings, tickets and transfers are kept. Results are
    tracked in MLflow (MLFLOW_TRACKING_URI, default sqlite:///mlflow.db in this folder).
    """
    settings = Settings(storage, data, address, workers, cpus, gpus, events, keep_weights)
    origin = asked(study, overrides, fragments)
    raise typer.Exit(run_study(load(origin, data), settings, origin, settle, retry_failed))


def run_study(
    study: Study,
    settings: Settings,
    origin: Origin,
    settle: bool = False,
    retry_failed: bool = False,
) -> int:
    """Does what the ledger lacks of a study and prints the verdict.

    `origin` is the study as the user asks for it; `settle`: see worklist; `retry_failed`: also what
    failed in two runs with the same error. Returns the exit code: 0, or 1 if something is missing
    at the end. Raises InputError before anything is started.
    """
    started = time.monotonic()
    with waiting(Console(), f"{study.name}: checking data, weights and settings", plain=False):
        work = worklist(study, Ledger(settings.storage.resolve()), settle)
        # Of a complete study the ledger tells the verdict, whatever MLflow does.
        tracked = not work.over or bool(confirmation.missing(work).pieces)
        remarks = check(study, settings, tracked)
    open_ledger(settings.storage)

    def kept() -> str:
        counts = state.counts(work.refreshed())
        done, total = sum(c.complete for c in counts), sum(c.total for c in counts)
        return f"{done} of {total} results of {study.name}"

    with session(work, settings, origin, study.name, kept, tracked) as opened:
        for remark in remarks:
            opened.say(remark)
        return _Run(opened, work, retry_failed, started).execute()


@dataclass
class _Run:
    """One run of a study. took: wall seconds of each stage that had something to do."""

    session: Session
    work: Worklist
    retry_failed: bool
    started: float
    took: dict[str, float] = field(default_factory=dict)

    def execute(self) -> int:
        """From what is there to the verdict; returns the exit code."""
        from tuner.stages import chains

        at = self.session
        at.tidy(self.work.finished)
        at.window.catch_up()
        estimate = None
        given_up = self._refresh()
        unfinished = chains.unfinished(self.work, given_up) or not self.work.queue.over
        if unfinished or confirmation.missing(self.work).pieces:
            places = inputs.places(self.work.study)
            with cluster(at.settings, places, at.console) as there:
                if unfinished:
                    capacity = self._packed(there)
                    estimate = self._estimate(capacity)
                    self._stages(capacity, given_up)
                    at.check_storage()
                self._refresh()
                confirmation.make(self.work, there, at.console)
        wall = time.monotonic() - self.started
        return 0 if self._conclude(wall, estimate) else 1

    def _packed(self, capacity: Capacity) -> Capacity:
        """As many transfers on each GPU of this machine as get most out of it, if nobody says."""
        settings, left = self.session.settings, self.work.queue.left
        if settings.gpus is not None or settings.address is not None or left <= capacity.trials:
            return capacity
        return packing.packed(capacity, self.work, self.session.say)

    def _estimate(self, capacity: Capacity) -> Estimate | None:
        """What is left will take, as far as it is known: nothing is timed here, and of a cluster
        elsewhere this machine says nothing."""
        if self.session.settings.address is not None:
            return None
        where = prices.machine(capacity)
        ahead = cost.outlook(self.work, capacity, where.device)
        estimate = cost.estimate(ahead, prices.known(ahead.steps, where))
        if estimate:
            self.session.say(f"estimated: {estimate}")
        return estimate

    def _given_up(self) -> set[str]:
        """What is not tried: what failed in two runs with the same error, and what waits for it."""
        from tuner.stages.chains import beyond_reach

        if self.retry_failed:
            return set()
        return beyond_reach(self.work, failures.lasting(self.session.ledger.root))

    def _refresh(self) -> set[str]:
        """Brings the worklist to what the ledger has now; returns what is given up."""
        given_up = self._given_up()
        self.work = self.work.refreshed(given_up)
        return given_up

    def _stages(self, capacity: Capacity, given_up: set[str]) -> None:
        """Both stages: transfers run beside chains, as soon as those leave room."""

        def over(seconds: float) -> None:
            self.took["source"] = seconds
            self.session.say(f"source stage: {duration(seconds)}")

        title = "source: thetas and tickets"
        with self.session.sources(self.work, capacity, title, given_up, over) as sources:
            sources.wait(lambda: sources.room >= 1)
            if not self.work.queue.over:
                self._transfers(capacity, sources)

    def _transfers(self, capacity: Capacity, sources: "Sources") -> None:
        from tuner.stages import transfer

        at, work = self.session, self.work
        done, left = len(work.complete & work.wanted.keys()), work.queue.left
        began = time.monotonic()
        title = "transfers (searches may ask for more)" if work.searches else "transfers"
        names = {name: transfer_entry(cell).name for name, cell in work.grid.transfers.items()}
        with at.progress(title, done, done + left, names) as progress:

            def made(key: str) -> None:
                at.window.show(transfer_entry(work.grid.transfers[key]))
                progress.advance(work.queue.left)

            def failed(key: str, why: FailureReason) -> None:
                at.fail(transfer_entry(work.grid.transfers[key]), why)

            @cache
            def keep() -> bool:
                return keeping.keeps(at.settings.keep_weights, work, at.say)

            transfer.run(work, capacity, sources, made, failed, keep)
        self.took["transfers"] = time.monotonic() - began
        at.say(f"transfer stage: {duration(self.took['transfers'])}")

    def _conclude(self, seconds: float, estimate: Estimate | None) -> bool:
        """Prints the verdict and where to look next; the same goes to MLflow. Is the study
        complete?"""
        self._refresh()
        at = self.session

        def write(tracker: Tracker) -> Conclusion:
            concluded = conclude(self.work, tracker)
            # MLflow's page lists metrics as they came: the verdict's are read first.
            if self.took:
                stages = {f"{stage}_seconds": wall for stage, wall in self.took.items()}
                tracker.measure({"wall_seconds": seconds, **stages})
            return concluded

        tracked = at.window.finish(write)
        concluded = tracked or from_ledger(self.work)
        complete = f"{concluded.done} of {concluded.total} transfers complete"
        at.say(f"\n{at.study.name}: {complete}, {duration(seconds)}", style="bold")
        if at.settings.keep_weights == "winners" and concluded.done == concluded.total:
            free_others(self.work)
        if estimate:
            at.say(f"estimated {estimate}, took {duration(seconds)}")
        for line in (
            *concluded.notes,
            *confirmation.remarks(self.work),
            "",
            *(concluded.lines or [_UNJUDGED]),
        ):
            at.say(line)
        if tracked is None:
            at.say(f"\nMLflow lacks some of this: python -m tuner sync {at.named}")
        failed = failures.of_runs(self.work.grid.keys, at.ledger.root)
        if failed or concluded.done < concluded.total:
            at.say_failed(failed)
            return False
        self._say_next("report" if concluded.lines else "trials")
        return True

    def _say_next(self, look: str) -> None:
        """Commands to go on with, each as a shell takes it."""
        at = self.session
        at.say("\nNext:")
        at.say("  python -m tuner ui")
        at.say(f"  python -m analysis {look} --study {at.study.name}")
        more, settle = further(at.study, at.origin)
        at.say(f"  python -m tuner run {rerun(more, at.settings)}{' --settle' if settle else ''}")


_UNJUDGED = "no pruned ticket is under both regimes of a verdict: nothing to judge"


MORE_SEEDS = 2
"""Seeds that are suggested beyond a task's own."""


def further(study: Study, origin: Origin) -> tuple[Origin, bool]:
    """(the study with more seeds for each task of a grid, its own among them; is `--settle` to be
    added, for tasks whose levels are searched): what would make the verdict surer."""
    overrides = list(origin.overrides)
    for place, task in enumerate(study.downstream):
        if task.adaptive:
            continue
        path = f"downstream.{place}.seeds="
        first = max(task.seeds) + 1
        seeds = [*task.seeds, *range(first, first + MORE_SEEDS)]
        overrides = [each for each in overrides if not each.startswith(path)]
        overrides.append(f"{path}[{','.join(map(str, seeds))}]")
    settles = any(task.adaptive for task in study.downstream)
    return replace(origin, overrides=tuple(overrides)), settles
