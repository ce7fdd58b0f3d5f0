"""The story of a search: theta, trials, confirmation on further seeds, the winning recipe."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from search_spaces import trials
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket
from search_spaces.study import PruningPlan, Study
from search_spaces.trials import RATE, Trial
from trainables.ledger import Ledger, open_ledger
from tuner import cluster, data, findings, source_stage, state, tracking
from tuner.console import Stage, duration, quiet
from tuner.entries import entries, trial_entry
from tuner.integrity import check_storage, on_sound_storage, set_damaged_aside
from tuner.interrupts import interruptible
from tuner.settings import Settings


@dataclass
class Searching:
    """One `python -m tuner search`: what it works on and what it has seen go wrong."""

    study: Study
    origin: str
    ledger: Ledger
    settings: Settings
    total: int
    deadline: float
    tracker: tracking.Tracker
    console: Console
    log: Path
    failures: list[str]


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
    data.check(_source_of(study))
    tracking.check_server()
    ledger = open_ledger(settings.storage)
    log = ledger.root / "logs" / f"search-{study.name}-{time.strftime('%Y%m%d-%H%M%S')}.log"

    def kept() -> str:
        return f"{len(state.trials(study, ledger))} of {wanted} trials of {study.name}"

    with interruptible(kept), on_sound_storage(ledger), quiet(log) as console:
        tracker = tracking.open_tracker(tracking.connect(), study, ledger)
        this = Searching(
            study, origin, ledger, settings, wanted, deadline, tracker, console, log, []
        )
        return _search(this)


def _search(this: Searching) -> int:
    started = time.monotonic()
    there = [*source_stage.wanted(_source_of(this.study)), *this.ledger.all(Trial)]
    for damage in set_damaged_aside(there, this.ledger):
        this.console.print(f"damaged: {damage}", markup=False)
    for ended in state.trials(this.study, this.ledger):
        this.tracker.log(trial_entry(this.study, ended.trial))
    done = len(state.trials(this.study, this.ledger))
    if done < this.total or _unconfirmed(this):
        with cluster.cluster(this.settings, data.places(this.study), this.console) as capacity:
            if _source(this, capacity):
                _trials(this, capacity)
                _confirm(this, capacity)
        if this.failures:
            check_storage(this.ledger)
    _conclude(this, time.monotonic() - started)
    return 1 if this.failures else 0


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
    wanted = source_stage.wanted(part)
    missing = [spec for spec in wanted if not this.ledger.has(spec)]
    if not missing:
        return True
    names = {entry.spec: entry for entry in entries(part)}
    with Stage(this.console, "source", len(wanted) - len(missing), len(wanted)) as stage:

        def found(spec: Theta | Ticket) -> None:
            this.tracker.log(names[spec])
            stage.advance()

        failures = source_stage.run(part, this.ledger, capacity, found)
    this.failures += failures
    return not failures


def _trials(this: Searching, capacity: cluster.Capacity) -> None:
    from analysis.search_tables import best_so_far
    from tuner import search_stage

    done = {key(f.trial) for f in state.trials(this.study, this.ledger)}
    if len(done) >= this.total:
        return
    with Stage(this.console, "trials", len(done), this.total) as stage:

        def found(trial: Trial) -> None:
            if key(trial) in done:
                return  # The sampler has drawn a point a second time.
            done.add(key(trial))
            this.tracker.log(trial_entry(this.study, trial))
            stage.advance(note=best_so_far(this.study, findings.table(this.study, this.ledger)))

        running = search_stage.Stage(this.study, this.ledger, capacity, found, this.failures)
        search_stage.search(running, this.total, this.deadline)


def _confirm(this: Searching, capacity: cluster.Capacity) -> None:
    from tuner import search_stage

    missing = _unconfirmed(this)
    if not missing:
        return
    with Stage(this.console, "further seeds", 0, len(missing)) as stage:

        def found(trial: Trial) -> None:
            this.tracker.log(trial_entry(this.study, trial))
            stage.advance()

        running = search_stage.Stage(this.study, this.ledger, capacity, found, this.failures)
        search_stage.confirm(running, missing)


def _unconfirmed(this: Searching) -> list[Trial]:
    """What is to be trained on further seeds: the best recipe and the study's own."""
    pairs = findings.confirmations(this.study, this.ledger)
    return [trial for pair in pairs for trial in pair if not this.ledger.has(trial)]


def _conclude(this: Searching, seconds: float) -> None:
    from analysis.search_tables import result_lines

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
    this.tracker.attach(files, "search")
    this.tracker.end()
    if this.failures:
        say(f"\n{len(this.failures)} failed; what they printed is in {this.log}", style="bold")
        for reason in this.failures[:5]:
            say(f"  {reason}", markup=False)
        say("run the same command again: what is complete is kept")


def _say_next(this: Searching, path: Path) -> None:
    shown = findings.shown(path)
    look = f"python -m analysis search --study {this.study.name} --out ."
    this.console.print(f"\nwinning recipe: {shown}", markup=False)
    more = f"python -m tuner run {this.origin} --with {shown}"
    this.console.print(f"Next: {more} | {look} | python -m tuner ui", markup=False)
