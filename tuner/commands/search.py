"""The story of a search: theta, trials, confirmation on further seeds, the winning recipe."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from search_spaces import grid, trials
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket
from search_spaces.study import PruningPlan, Study
from search_spaces.trials import RATE, Trial
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster import capacity as cluster
from tuner.runtime.console import StageProgress, duration
from tuner.runtime.settings import Settings
from tuner.search import findings
from tuner.stages import source as source_stage
from tuner.stages.session import opened
from tuner.storage import failures, inputs, state
from tuner.storage.entries import Entry, entries, trial_entry
from tuner.storage.failures import Failure
from tuner.storage.integrity import check_storage, set_damaged_aside
from tuner.tracking import store as tracking_store
from tuner.tracking import tracker as tracking
from tuner.tracking.window import Window


@dataclass
class Searching:
    """One `python -m tuner search`: what it works on and what it has seen go wrong."""

    study: Study
    origin: str
    ledger: Ledger
    settings: Settings
    total: int
    deadline: float
    window: Window
    console: Console
    log: Path
    failed: list[Failure] = field(default_factory=list)

    def fails(self, entry: Entry, why: failures.FailureReason) -> None:
        """Something has ended without a result."""
        self.failed.append(failures.record(self.ledger, entry, self.study.name, why))
        self.window.show(entry)


def search(
    study: Study, settings: Settings, origin: str, total: int | None, minutes: float | None
) -> int:
    """Runs the trials that the ledger lacks of the study's search, then says what they show.

    total: trials wanted in all (None: as the study says); minutes: no trial is started that would
    leave too few of them for the confirmation, by the pace so far. Returns the exit code: 0, or 1
    if something failed. Raises InputError before anything is started.
    """
    wanted = total or trials.searched(study).trials
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    cluster.check_local(settings)
    remarks = inputs.check(_source_of(study))
    tracking_store.check_server()
    ledger = open_ledger(settings.storage)

    def kept() -> str:
        return f"{len(state.trials(study, ledger))} of {wanted} trials of {study.name}"

    with opened(study, ledger, f"search-{study.name}", kept) as (console, log, window):
        for remark in remarks:
            console.print(remark, markup=False)
        this = Searching(study, origin, ledger, settings, wanted, deadline, window, console, log)
        return _search(this)


def _search(this: Searching) -> int:
    started = time.monotonic()
    there = [*grid.sources(_source_of(this.study)), *this.ledger.all(Trial)]
    for damage in set_damaged_aside(there, this.ledger):
        this.console.print(f"damaged: {damage}", markup=False)
    failures.forget_mended(this.ledger.root)
    this.window.catch_up()
    done = len(state.trials(this.study, this.ledger))
    if done < this.total or _unconfirmed(this):
        with cluster.cluster(this.settings, inputs.places(this.study), this.console) as capacity:
            if _source(this, capacity):
                _trials(this, capacity)
                _confirm(this, capacity)
        if this.failed:
            check_storage(this.ledger)
    _conclude(this, time.monotonic() - started)
    return 1 if this.failed else 0


def _source_of(study: Study) -> Study:
    """The study less all that the search does not need: thetas, tickets, tasks."""
    search = trials.searched(study)
    task = study.downstream[trials.task_place(study, search)]
    name, plans = search.pretraining, {}
    if search.pruning and RATE not in search.space:
        plan = study.pruning[search.pruning].model_dump()
        plan |= {"rounds": search.level} if plan["rounds"] else {"levels": (search.level,)}
        plans = {search.pruning: PruningPlan.model_validate(plan)}
    source = study.source.model_copy(
        update={"pretrainings": {name: study.source.pretrainings[name]}}
    )
    tasks = (task.model_copy(update={"checks": ()}),)
    return study.model_copy(update={"source": source, "pruning": plans, "downstream": tasks})


def _source(this: Searching, capacity: cluster.Capacity) -> bool:
    """Makes the theta and the ticket of the search; False if that failed."""
    part = _source_of(this.study)
    wanted = grid.sources(part)
    done = sum(map(this.ledger.has, wanted))
    if done == len(wanted):
        return True
    names = {entry.spec: entry for entry in entries(part)}
    with StageProgress(this.console, "source", done, len(wanted)) as stage:

        def found(spec: Theta | Ticket) -> None:
            this.window.show(names[spec])
            stage.advance()

        def failed(spec: Theta | Ticket, why: failures.FailureReason) -> None:
            this.fails(names[spec], why)

        source_stage.run(part, this.ledger, capacity, found, failed)
    return not this.failed


def _trials(this: Searching, capacity: cluster.Capacity) -> None:
    from analysis.tables.search import best_so_far
    from tuner.search import stage as search_stage

    done = {key(f.trial) for f in state.trials(this.study, this.ledger)}
    if len(done) >= this.total:
        return
    with StageProgress(this.console, "trials", len(done), this.total) as stage:

        def found(trial: Trial) -> None:
            if key(trial) in done:
                return  # The sampler has drawn a point a second time.
            done.add(key(trial))
            this.window.show(trial_entry(this.study, trial))
            stage.advance(note=best_so_far(this.study, findings.table(this.study, this.ledger)))

        running = search_stage.TrialStage(this.study, this.ledger, capacity, found, _failed(this))
        search_stage.search(running, this.total, this.deadline)


def _confirm(this: Searching, capacity: cluster.Capacity) -> None:
    from tuner.search import stage as search_stage

    missing = _unconfirmed(this)
    if not missing:
        return
    with StageProgress(this.console, "further seeds", 0, len(missing)) as stage:

        def found(trial: Trial) -> None:
            this.window.show(trial_entry(this.study, trial))
            stage.advance()

        running = search_stage.TrialStage(this.study, this.ledger, capacity, found, _failed(this))
        search_stage.confirm(running, missing)


def _failed(this: Searching) -> Callable[[Trial, failures.FailureReason], None]:
    return lambda trial, why: this.fails(trial_entry(this.study, trial), why)


def _unconfirmed(this: Searching) -> list[Trial]:
    """What is to be trained on further seeds: the best recipe and the study's own."""
    pairs = findings.confirmations(this.study, this.ledger)
    return [trial for pair in pairs for trial in pair if not this.ledger.has(trial)]


def _conclude(this: Searching, seconds: float) -> None:
    from analysis.tables.search import result_lines

    found = findings.table(this.study, this.ledger)
    say = this.console.print
    counts = ", ".join(f"{n} {state}" for state, n in found["state"].value_counts().items())
    head = f"{this.study.name}: {len(found)} of {this.total} trials"
    say(f"\n{head}, {duration(seconds)} ({counts or 'none'})", style="bold")
    lines = [""]
    if len(found):
        lines += [
            *result_lines(this.study, found),
            "",
            *findings.sentences(this.study, this.ledger),
        ]
    for line in lines:
        say(line, markup=False)
    files = {"search.txt": "\n".join(lines).encode(), "search.csv": found.to_csv().encode()}
    best = findings.winning_point(this.study, this.ledger)
    if best is not None:
        path = findings.write_fragment(this.study, this.ledger, best, this.origin, lines)
        files |= {path.name: path.read_bytes(), **findings.figures(this.study, found)}
        _say_next(this, path)

    def tell(tracker: tracking.Tracker) -> bool:
        tracker.attach(files, "search")
        tracker.end(failed=bool(this.failed))
        return True

    if not this.window.settle(tell):
        say(f"\nMLflow lacks some of this: python -m tuner search {this.origin}", markup=False)
    if this.failed:
        say()
        for line in failures.told(this.failed, this.ledger.root, this.origin):
            say(line, markup=False)
        say("run the same command again: what is complete is kept")


def _say_next(this: Searching, path: Path) -> None:
    shown = findings.shown(path)
    look = f"python -m analysis search --study {this.study.name} --out ."
    this.console.print(f"\nwinning recipe: {shown}", markup=False)
    more = f"python -m tuner run {this.origin} --with {shown}"
    this.console.print(f"Next: {more} | {look} | python -m tuner ui", markup=False)
