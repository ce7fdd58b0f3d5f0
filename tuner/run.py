"""The story of a run: source stage, transfer stage, verdict."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from search_spaces import grid
from search_spaces.spec import Theta, Ticket
from search_spaces.study import Study
from trainables.ledger import Ledger, open_ledger
from tuner import accounts, cluster, data, prices, source_stage, state, tracking
from tuner.agenda import Agenda, agenda
from tuner.conclusion import conclude
from tuner.console import Stage, duration, quiet
from tuner.entries import entries, transfer_entry
from tuner.history import RunRecord, keep
from tuner.integrity import check_storage, finished, on_sound_storage, set_damaged_aside
from tuner.interrupts import interruptible
from tuner.lock import only_run
from tuner.settings import Settings


@dataclass
class Run:
    """One `python -m tuner run`: what it works on and what it has seen go wrong."""

    study: Study
    origin: str
    ledger: Ledger
    settings: Settings
    tracker: tracking.Tracker
    console: Console
    log: Path
    settle: bool
    started: float
    busy: float
    took: dict[str, float] = field(default_factory=dict)
    """Wall seconds of each stage that had something to do."""

    def agenda(self) -> Agenda:
        """What is left to transfer."""
        return agenda(self.study, self.ledger, self.settle)


def run(study: Study, settings: Settings, origin: str, settle: bool = False) -> int:
    """Does what the ledger lacks of a study and prints the verdict.

    `origin` is what the user calls the study, a name or a path; `settle`: see agenda. Returns
    the exit code: 0, or 1 if something failed. Raises InputError before anything is started.
    """
    started, busy = time.monotonic(), prices.cores_busy()
    cluster.check_local(settings)
    data.check(study)
    tracking.check_server()
    ledger = open_ledger(settings.storage)
    log = ledger.root / "logs" / f"{study.name}-{time.strftime('%Y%m%d-%H%M%S')}.log"

    def kept() -> str:
        rows = state.rows(state.standing(study, ledger))
        done, total = sum(row.complete for row in rows), sum(row.total for row in rows)
        return f"{done} of {total} results of {study.name}"

    with (
        only_run(ledger.root, study.name),
        interruptible(kept),
        on_sound_storage(ledger),
        quiet(log) as console,
    ):
        tracker = tracking.open_tracker(tracking.connect(), study, ledger)
        this = Run(study, origin, ledger, settings, tracker, console, log, settle, started, busy)
        return _run(this)


def _run(this: Run) -> int:
    for damage in set_damaged_aside(finished(this.study, this.ledger), this.ledger):
        this.console.print(f"damaged: {damage}", markup=False)
    this.tracker.catch_up()
    failures: list[str] = []
    forecast = None
    if _missing_source(this) or not this.agenda().schedule.over:
        with cluster.cluster(this.settings, data.places(this.study), this.console) as capacity:
            local = this.settings.address is None
            forecast = accounts.forecast(this.study, this.ledger, capacity, this.busy, local)
            failures += _source(this, capacity)
            if failures:
                check_storage(this.ledger)
            failures += _transfers(this, capacity)
            if failures:
                check_storage(this.ledger)
    this.tracker.catch_up()
    wall = time.monotonic() - this.started
    account = None
    if forecast:
        account = accounts.settle(forecast, this.ledger, wall, this.took, len(failures))
        keep(account, this.ledger.root)
        this.tracker.measure(accounts.numbers(account))
    _conclude(this, failures, wall, account)
    return 1 if failures else 0


def _missing_source(this: Run) -> list[Theta | Ticket]:
    return [spec for spec in source_stage.wanted(this.study) if not this.ledger.has(spec)]


def _source(this: Run, capacity: cluster.Capacity) -> list[str]:
    missing, total = len(_missing_source(this)), len(source_stage.wanted(this.study))
    if not missing:
        return []
    names = {entry.spec: entry for entry in entries(this.study)}
    started = time.monotonic()
    with Stage(this.console, "source: thetas and tickets", total - missing, total) as stage:

        def found(spec: Theta | Ticket) -> None:
            this.tracker.log(names[spec])
            stage.advance()

        failures = source_stage.run(this.study, this.ledger, capacity, found)
    this.took["source"] = time.monotonic() - started
    this.console.print(f"source stage: {duration(this.took['source'])}")
    return failures


def _transfers(this: Run, capacity: cluster.Capacity) -> list[str]:
    from tuner import transfer_stage

    agenda = this.agenda()
    if agenda.schedule.over:
        return []
    left, total = agenda.schedule.left, len(agenda.wanted)
    started = time.monotonic()
    name = "transfers (searches may ask for more)" if agenda.searches else "transfers"
    with Stage(this.console, name, total - left, total) as stage:

        def found(cell: grid.TransferCell) -> None:
            this.tracker.log(transfer_entry(cell))
            stage.advance(agenda.schedule.left)

        failures = transfer_stage.run(agenda, this.ledger, capacity, found)
    this.took["transfers"] = time.monotonic() - started
    this.console.print(f"transfer stage: {duration(this.took['transfers'])}")
    return failures


def _conclude(this: Run, failures: list[str], seconds: float, account: RunRecord | None) -> None:
    """Prints the verdict and where to look next; the same goes to MLflow."""
    found = conclude(this.agenda(), this.tracker)
    name, say = this.study.name, this.console.print
    say(
        f"\n{name}: {found.done} of {found.total} transfers complete, {duration(seconds)}",
        style="bold",
    )
    if account and (compared := accounts.in_words(account)):
        say(compared)
    for note in found.notes:
        say(note, markup=False)
    say()
    unjudged = "no pruned ticket is under both regimes of a verdict: nothing to judge"
    for line in found.lines or [unjudged]:
        say(line, markup=False)
    if failures:
        say(f"\n{len(failures)} failed; what they printed is in {this.log}", style="bold")
        for reason in failures[:5]:
            say(f"  {reason}", markup=False)
        say("run the same command again: what is complete is kept")
        return
    storage = "" if this.settings.storage == Settings.storage else f" --storage {this.ledger.root}"
    look = "report" if found.lines else "trials"
    more = f"python -m tuner run {this.origin}{storage} {_further(this.study)}"
    say(
        f"\nNext: python -m tuner ui | python -m analysis {look} --study {name} | {more}",
        markup=False,
    )


def _further(study: Study) -> str:
    """What to add to the command for a surer verdict."""
    if any(task.adaptive for task in study.downstream):
        return "--settle"
    return "--set 'downstream.0.seeds=[0,1,2,3]'"
