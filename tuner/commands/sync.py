"""python -m tuner sync: MLflow brought to what the ledger holds of a study."""

import time
from dataclasses import dataclass

import typer

from analysis.store.disclosure import public
from analysis.store.runs import address, explained
from search_spaces.errors import InputError
from search_spaces.study import Study
from trainables.store.ledger import Ledger, open_ledger
from tuner.options import DataOpt, SetOpt, StorageOpt, StudyArg, WithOpt, asked, load
from tuner.runtime.console import quiet
from tuner.runtime.lock import only_run
from tuner.runtime.settings import Origin, Settings, named
from tuner.scheduling.worklist import worklist
from tuner.stages.conclusion import conclude
from tuner.storage.integrity import set_damaged_aside
from tuner.tracking import backend
from tuner.tracking.opening import open_tracker


def sync(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
) -> None:
    """Bring MLflow up to what the storage holds of a study, nothing twice.

    For when MLflow was away during a run, or is a new one.
    """
    origin = asked(study, overrides, fragments)
    loaded = load(origin, data)
    typer.echo(str(sync_study(loaded, Settings(storage, data), origin)))


@dataclass(frozen=True)
class Synced:
    """How many runs of a study, or of the version that `title` names, were written, and how many
    there are now, the parent apart."""

    title: str
    written: int
    runs: int
    failed: int
    uri: str

    def __str__(self) -> str:
        failed = f", {self.failed} of failures" if self.failed else ""
        written = f"{self.written} runs written; {self.runs} there now{failed}"
        return f"{self.title}: {written}, in {self.uri}"


def sync_study(study: Study, settings: Settings, origin: Origin) -> Synced:
    """Writes to MLflow what it lacks of a study's results, failures, evidence and verdict, nothing
    twice. Raises InputError if MLflow does not answer, if nothing is finished, or while a run works
    on the study."""
    work = worklist(study, Ledger(settings.storage.resolve()))
    if not work.complete:
        raise InputError(
            f"study {study.name}: nothing finished in {settings.storage}: "
            f"run it first: python -m tuner run {named(origin, settings)}"
        )
    ledger = open_ledger(settings.storage)
    log = ledger.root / "logs" / f"sync-{study.name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    with only_run(ledger.root, study.name), quiet(log) as console:
        for damage in set_damaged_aside(work.finished, ledger):
            console.print(f"damaged: {damage}", markup=False)
        client = backend.connect()
        with explained(address(None)):
            tracker = open_tracker(client, work, origin.study)
            before = len(tracker.runs)
            tracker.catch_up()
            conclude(work.refreshed(), tracker)
        runs, failed = len(tracker.runs), len(tracker.failed)
        return Synced(tracker.title, runs - before, runs, failed, public(tracker.uri))
