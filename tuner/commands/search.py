"""python -m tuner search: theta, trials, confirmation on further seeds, the winning recipe."""

import math
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.study import PruningPlan, Study
from search_spaces.trials import RATE, Trial, searched, task_place
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster.capacity import Capacity, cluster
from tuner.options import (
    AddressOpt,
    CpusOpt,
    DataOpt,
    GpusOpt,
    SetOpt,
    StorageOpt,
    StudyArg,
    WithOpt,
    WorkersOpt,
    asked,
    load,
)
from tuner.runtime.console import duration
from tuner.runtime.progress import StageProgress
from tuner.runtime.settings import Origin, Settings
from tuner.scheduling.worklist import Worklist, worklist
from tuner.stages.session import Session, check, session
from tuner.storage import inputs, state
from tuner.storage.entries import trial_entry
from tuner.storage.failures import FailureReason
from tuner.tracking.tracker import Tracker


def search(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials wanted in all. Default: the study's.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no trial that would make it last longer.")
    ] = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    address: AddressOpt = None,
    workers: WorkersOpt = None,
    cpus: CpusOpt = 1.0,
    gpus: GpusOpt = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write an Optuna journal, as optuna-dashboard reads."
        ),
    ] = None,
) -> None:
    """Search better hyper-parameters on validation images, as the study's search: section says.

    Running again keeps every finished trial. The winning recipe is a file for `run --with`.
    """
    settings = Settings(storage, data, address, workers, cpus, gpus)
    origin = asked(study, overrides, fragments)
    if journal is not None and not journal.parent.is_dir():
        raise InputError(f"--journal {journal}: there is no folder {journal.parent}: make it first")
    content = load(origin, data)
    code = search_study(content, settings, origin, trials, minutes)
    if journal is not None:
        from tuner.search.sampler import write_journal

        write_journal(content, Ledger(storage), journal)
        typer.echo(f"wrote {journal}")
    raise typer.Exit(code)


def search_study(
    study: Study, settings: Settings, origin: Origin, total: int | None, minutes: float | None
) -> int:
    """Runs the trials that the ledger lacks of the study's search, then says what they show.

    total: trials wanted in all (None: as the study says); minutes: no trial is started that would
    leave too few of them for the confirmation, by the pace so far. Returns the exit code: 0, or 1
    if something failed. Raises InputError before anything is started.
    """
    wanted = total or searched(study).trials
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    needed = _needed(study)
    remarks = check(needed, settings)
    ledger = open_ledger(settings.storage)

    def kept() -> str:
        return f"{len(state.trials(study, ledger))} of {wanted} trials of {study.name}"

    with session(worklist(study, ledger), settings, origin, f"search-{study.name}", kept) as opened:
        for remark in remarks:
            opened.say(remark)
        return _Search(opened, worklist(needed, ledger), wanted, deadline).execute()


def _needed(study: Study) -> Study:
    """The study less all that the search does not need: thetas, tickets, tasks."""
    section = searched(study)
    task = study.downstream[task_place(study, section)]
    name, plans = section.pretraining, {}
    if section.pruning and RATE not in section.space:
        plan = study.pruning[section.pruning].model_dump()
        plan |= {"rounds": section.level} if plan["rounds"] else {"levels": (section.level,)}
        plans = {section.pruning: PruningPlan.model_validate(plan)}
    source = study.source.model_copy(
        update={
            "pretrainings": {name: study.source.pretrainings[name]},
            "seeds": study.source.seeds[:1],
        }
    )
    tasks = (task.model_copy(update={"checks": ()}),)
    return study.model_copy(update={"source": source, "pruning": plans, "downstream": tasks})


@dataclass(frozen=True)
class _Search:
    """One search. needed: the theta and the tickets that trials start from; total: trials wanted;
    deadline: of time.monotonic."""

    session: Session
    needed: Worklist
    total: int
    deadline: float

    def execute(self) -> int:
        """From what is there to the winning recipe; returns the exit code."""
        at, began = self.session, time.monotonic()
        sources = self.needed.grid.sources.items()
        there = [spec for name, spec in sources if name in self.needed.complete]
        at.tidy([*there, *at.ledger.all(Trial)])
        at.window.catch_up()
        done = len(state.trials(at.study, at.ledger))
        if done < self.total or self._unconfirmed():
            with cluster(at.settings, inputs.places(at.study), at.console) as capacity:
                if self._source(capacity):
                    self._trials(capacity)
                    self._confirm(capacity)
            at.check_storage()
        self._conclude(time.monotonic() - began)
        return 1 if at.failed else 0

    def _source(self, capacity: Capacity) -> bool:
        """Makes the theta and the ticket of the search; False if that failed."""
        work = self.needed.refreshed()
        if work.grid.sources.keys() - work.complete:
            with self.session.sources(work, capacity, "source"):
                pass  # It is waited for.
        return not self.session.failed

    def _trials(self, capacity: Capacity) -> None:
        from analysis.tables.search import best_so_far
        from tuner.search import findings, stage

        at = self.session
        done = {key(finished.trial) for finished in state.trials(at.study, at.ledger)}
        if len(done) >= self.total:
            return
        with StageProgress(at.console, "trials", len(done), self.total) as progress:

            def made(trial: Trial) -> None:
                if key(trial) in done:
                    return  # The sampler has drawn a point a second time.
                done.add(key(trial))
                at.window.show(trial_entry(at.study, trial))
                best = best_so_far(at.study, findings.table(at.study, at.ledger))
                progress.advance(note=best)

            trials = stage.TrialStage(at.study, at.ledger, capacity, made, self._fail)
            stage.search(trials, self.total, self.deadline)

    def _confirm(self, capacity: Capacity) -> None:
        from tuner.search import stage

        at, missing = self.session, self._unconfirmed()
        if not missing:
            return
        with StageProgress(at.console, "further seeds", 0, len(missing)) as progress:

            def made(trial: Trial) -> None:
                at.window.show(trial_entry(at.study, trial))
                progress.advance()

            trials = stage.TrialStage(at.study, at.ledger, capacity, made, self._fail)
            stage.confirm(trials, missing)

    def _fail(self, trial: Trial, why: FailureReason) -> None:
        self.session.fail(trial_entry(self.session.study, trial), why)

    def _unconfirmed(self) -> list[Trial]:
        """What is to be trained on further seeds: the best recipe and the study's own."""
        from tuner.search import findings

        ledger = self.session.ledger
        pairs = findings.confirmations(self.session.study, ledger)
        return [trial for pair in pairs for trial in pair if not ledger.has(trial)]

    def _conclude(self, seconds: float) -> None:
        from analysis.tables.search import result_lines
        from tuner.search import findings

        at = self.session
        table = findings.table(at.study, at.ledger)
        counts = ", ".join(f"{n} {state}" for state, n in table["state"].value_counts().items())
        head = f"{at.study.name}: {len(table)} of {self.total} trials"
        at.say(f"\n{head}, {duration(seconds)} ({counts or 'none'})", style="bold")
        lines = [""]
        if len(table):
            lines += [
                *result_lines(at.study, table),
                "",
                *findings.sentences(at.study, at.ledger),
            ]
        for line in lines:
            at.say(line)
        files = {"search.txt": "\n".join(lines).encode(), "search.csv": table.to_csv().encode()}
        best = findings.winning_point(at.study, at.ledger)
        if best is not None:
            path = findings.write_fragment(at.study, at.ledger, best, at.rerun, lines)
            files |= {path.name: path.read_bytes(), **findings.figures(at.study, table)}
            self._say_next(shlex.quote(findings.shown(path)))

        def write(tracker: Tracker) -> bool:
            tracker.attach(files, "search")
            tracker.end(failed=bool(at.failed))
            return True

        if not at.window.finish(write):
            at.say(f"\nMLflow lacks some of this: python -m tuner search {at.rerun}")
        if at.failed:
            at.say_failed(at.failed)

    def _say_next(self, recipe: str) -> None:
        at = self.session
        at.say(f"\nwinning recipe: {recipe}")
        look = f"python -m analysis search --study {at.study.name} --out ."
        more = f"python -m tuner run {at.rerun} --with {recipe}"
        at.say(f"Next: {more} | {look} | python -m tuner ui")
