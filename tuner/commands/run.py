"""The story of a run: source stage, transfer stage, verdict."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from search_spaces import grid
from search_spaces.spec import Theta, Ticket
from search_spaces.study import Study
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster import capacity as cluster
from tuner.estimate import cost, history, prices
from tuner.estimate.cost import Estimate
from tuner.runtime.console import StageProgress, duration
from tuner.runtime.settings import Settings
from tuner.scheduling.worklist import Agenda, agenda
from tuner.stages import source
from tuner.stages.conclusion import Conclusion, conclude, from_ledger
from tuner.stages.session import opened
from tuner.storage import failures, inputs, state
from tuner.storage.entries import Entry, entries, transfer_entry
from tuner.storage.failures import Failure
from tuner.storage.integrity import check_storage, finished, set_damaged_aside
from tuner.tracking import store as tracking_store
from tuner.tracking import tracker as tracking
from tuner.tracking.window import Window


@dataclass
class Run:
    """One `python -m tuner run`: what it works on and what it has seen go wrong."""

    study: Study
    origin: str
    ledger: Ledger
    settings: Settings
    window: Window
    console: Console
    log: Path
    settle: bool
    retry_failed: bool
    started: float
    failed: list[Failure] = field(default_factory=list)
    took: dict[str, float] = field(default_factory=dict)
    """Wall seconds of each stage that had something to do."""

    def given_up(self) -> set[str]:
        """What is not tried: what failed in two runs with the same error, and what waits for it."""
        if self.retry_failed:
            return set()
        lasting = failures.lasting(self.ledger.root)
        return source.beyond_reach(self.study, self.ledger, lasting)

    def agenda(self) -> Agenda:
        """What is left to transfer."""
        return agenda(self.study, self.ledger, self.settle, self.given_up())

    def fails(self, entry: Entry, why: failures.FailureReason) -> None:
        """Something has ended without a result."""
        self.failed.append(failures.record(self.ledger, entry, self.study.name, why))
        self.window.show(entry)


def run(
    study: Study, settings: Settings, origin: str, settle: bool = False, retry_failed: bool = False
) -> int:
    """Does what the ledger lacks of a study and prints the verdict.

    `origin` is what the user calls the study, a name or a path; `settle`: see agenda;
    `retry_failed`: also what failed in two runs with the same error. Returns the exit code: 0, or 1
    if something is missing at the end. Raises InputError before anything is started.
    """
    started = time.monotonic()
    cluster.check_local(settings)
    remarks = inputs.check(study)
    tracking_store.check_server()
    ledger = open_ledger(settings.storage)

    def kept() -> str:
        rows = state.rows(state.standing(study, ledger))
        done, total = sum(row.complete for row in rows), sum(row.total for row in rows)
        return f"{done} of {total} results of {study.name}"

    with opened(study, ledger, study.name, kept) as (console, log, window):
        for remark in remarks:
            console.print(remark, markup=False)
        ways = settle, retry_failed
        this = Run(study, origin, ledger, settings, window, console, log, *ways, started)
        return _run(this)


def _run(this: Run) -> int:
    for damage in set_damaged_aside(finished(this.study, this.ledger), this.ledger):
        this.console.print(f"damaged: {damage}", markup=False)
    failures.forget_mended(this.ledger.root)
    this.window.catch_up()
    estimate = None
    todo = source.chains(this.study, this.ledger, this.given_up())
    if todo or not this.agenda().schedule.over:
        with cluster.cluster(this.settings, inputs.places(this.study), this.console) as capacity:
            estimate = _estimate(this, capacity)
            if todo:
                _source(this, capacity)
            _transfers(this, capacity)
            if this.failed:
                check_storage(this.ledger)
    wall = time.monotonic() - this.started
    if estimate and not this.failed:
        device = prices.machine(capacity).device
        history.keep(this.study.name, device, estimate.modelled, wall, this.ledger.root)
    return 0 if _conclude(this, wall, estimate) else 1


def _estimate(this: Run, capacity: cluster.Capacity) -> Estimate | None:
    """What is left will take, as far as it is known: nothing is timed here, and of a cluster
    elsewhere this machine says nothing."""
    if this.settings.address is not None:
        return None
    where, stands = prices.machine(capacity), state.standing(this.study, this.ledger)
    ahead = cost.outlook(stands, this.ledger, capacity, where.device)
    estimate = cost.estimate(ahead, prices.known(ahead.steps, where))
    if estimate:
        this.console.print(f"estimated: {estimate}")
    return estimate


def _source(this: Run, capacity: cluster.Capacity) -> None:
    wanted = grid.sources(this.study)
    done = sum(map(this.ledger.has, wanted))
    names = {entry.spec: entry for entry in entries(this.study)}
    started = time.monotonic()
    with StageProgress(this.console, "source: thetas and tickets", done, len(wanted)) as stage:

        def found(spec: Theta | Ticket) -> None:
            this.window.show(names[spec])
            stage.advance()

        def failed(spec: Theta | Ticket, why: failures.FailureReason) -> None:
            this.fails(names[spec], why)

        source.run(this.study, this.ledger, capacity, found, failed, this.given_up())
    if this.failed:
        check_storage(this.ledger)
    this.took["source"] = time.monotonic() - started
    this.console.print(f"source stage: {duration(this.took['source'])}")


def _transfers(this: Run, capacity: cluster.Capacity) -> None:
    from tuner.stages import transfer

    agenda = this.agenda()
    if agenda.schedule.over:
        return
    done, left = len(agenda.complete & agenda.wanted.keys()), agenda.schedule.left
    started = time.monotonic()
    name = "transfers (searches may ask for more)" if agenda.searches else "transfers"
    with StageProgress(this.console, name, done, done + left) as stage:

        def found(cell: grid.TransferCell) -> None:
            this.window.show(transfer_entry(cell))
            stage.advance(agenda.schedule.left)

        def failed(cell: grid.TransferCell, why: failures.FailureReason) -> None:
            this.fails(transfer_entry(cell), why)

        transfer.run(agenda, this.ledger, capacity, found, failed)
    this.took["transfers"] = time.monotonic() - started
    this.console.print(f"transfer stage: {duration(this.took['transfers'])}")


def _conclude(this: Run, seconds: float, estimate: Estimate | None) -> bool:
    """Prints the verdict and where to look next; the same goes to MLflow. Is the study complete?"""

    def tell(tracker: tracking.Tracker) -> Conclusion:
        if this.took:
            stages = {f"{stage}_seconds": wall for stage, wall in this.took.items()}
            tracker.measure({"wall_seconds": seconds, **stages})
        return conclude(this.agenda(), tracker)

    told = this.window.settle(tell)
    found = told or from_ledger(this.agenda(), this.study, this.ledger)
    name, say = this.study.name, this.console.print
    say(
        f"\n{name}: {found.done} of {found.total} transfers complete, {duration(seconds)}",
        style="bold",
    )
    if estimate:
        say(f"estimated {estimate}, took {duration(seconds)}")
    for note in found.notes:
        say(note, markup=False)
    say()
    unjudged = "no pruned ticket is under both regimes of a verdict: nothing to judge"
    for line in found.lines or [unjudged]:
        say(line, markup=False)
    storage = "" if this.settings.storage == Settings.storage else f" --storage {this.ledger.root}"
    if told is None:
        say(
            f"\nMLflow lacks some of this: python -m tuner sync {this.origin}{storage}",
            markup=False,
        )
    failed = failures.of_runs(this.study, this.ledger.root)
    if failed or found.done < found.total:
        say()
        for line in failures.told(failed, this.ledger.root, f"{this.origin}{storage}"):
            say(line, markup=False)
        say("run the same command again: what is complete is kept")
        return False
    look = "report" if found.lines else "trials"
    more = f"python -m tuner run {this.origin}{storage} {_further(this.study)}"
    say(
        f"\nNext: python -m tuner ui | python -m analysis {look} --study {name} | {more}",
        markup=False,
    )
    return True


def _further(study: Study) -> str:
    """What to add to the command for a surer verdict."""
    if any(task.adaptive for task in study.downstream):
        return "--settle"
    return "--set 'downstream.0.seeds=[0,1,2,3]'"
