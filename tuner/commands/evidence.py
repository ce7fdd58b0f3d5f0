"""The story of `python -m tuner evidence`: plan, first pieces, probes, MLflow, a summary."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from search_spaces.errors import InputError
from search_spaces.evidence import AttackEvidence, Evidence, Probe, Retraining
from search_spaces.study import Study
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster import capacity as cluster
from tuner.evidence import records
from tuner.evidence.plan import EvidencePlan, Wish, plan
from tuner.runtime.console import StageProgress, duration
from tuner.runtime.settings import Settings
from tuner.scheduling.worklist import agenda
from tuner.stages.conclusion import Conclusion, conclude
from tuner.stages.session import opened
from tuner.storage import inputs
from tuner.storage.integrity import check_storage, finished, set_damaged_aside
from tuner.tracking import store as tracking_store
from tuner.tracking import tracker as tracking

_NAMES = {
    "masks": "mask comparisons",
    "records": "record comparisons",
    "retraining": "re-trainings",
    "landscape": "landscapes",
    "calibration": "calibrations",
    "attacks": "attack series",
    "autoattack": "AutoAttacks",
}


@dataclass(frozen=True)
class _Gathering:
    """One `python -m tuner evidence`: what it works on."""

    study: Study
    origin: str
    ledger: Ledger
    settings: Settings
    plan: EvidencePlan
    console: Console
    log: Path

    def missing(self) -> list[Evidence]:
        return [piece for piece in self.plan.pieces if not self.ledger.has(piece)]


def run(study: Study, settings: Settings, origin: str, wish: Wish) -> int:
    """Gathers what the ledger lacks of a study's evidence, and puts all of it into MLflow.

    Returns the exit code: 0, or 1 if something failed. Raises InputError before anything is
    started, also where no transfer or ticket of the study is finished.
    """
    cluster.check_local(settings)
    inputs.check(study)
    tracking_store.check_server()
    if not finished(study, Ledger(settings.storage.resolve())):
        raise InputError(
            f"study {study.name}: nothing finished in {settings.storage}: "
            f"run it first: python -m tuner run {origin}"
        )
    ledger = open_ledger(settings.storage)
    pieces: list[Evidence] = []

    def kept() -> str:
        done = sum(map(ledger.has, pieces))
        return f"{done} of {len(pieces)} pieces of evidence on {study.name}"

    with opened(study, ledger, f"{study.name}-evidence", kept) as (console, log, window):
        if damages := set_damaged_aside(finished(study, ledger), ledger):
            for damage in damages:
                console.print(f"damaged: {damage}", markup=False)
            console.print(f"to have it again: python -m tuner run {origin}", markup=False)
        planned = plan(study, ledger, wish)
        pieces += planned.pieces
        for damage in set_damaged_aside(planned.pieces, ledger):
            console.print(f"damaged: {damage}", markup=False)
        this = _Gathering(study, origin, ledger, settings, planned, console, log)
        _announce(this)
        started = time.monotonic()
        failures = _gather(this)
        if failures:
            check_storage(ledger)
        found = records.collect(study, ledger)
        written = records.files(found, planned.skipped, len(this.missing()))

        def tell(tracker: tracking.Tracker) -> Conclusion:
            tracker.attach(written, "evidence")
            return conclude(agenda(study, ledger), tracker)

        shown = window.settle(tell) is not None
        _summarise(this, found, failures, time.monotonic() - started, shown)
    return 1 if failures else 0


def _announce(this: _Gathering) -> None:
    """What it will cost."""
    say, missing = this.console.print, this.missing()
    counts = ", ".join(f"{n} {_NAMES[kind]}" for kind, n in this.plan.counts.items())
    say(f"evidence of {this.study.name}: {counts}")
    if not missing:
        return
    again = [piece.transfer for piece in missing if isinstance(piece, Retraining)]
    results = map(this.ledger.result, again)
    seconds = sum(result["ended"] - result["started"] for result in results)
    cost = f"; {len(again)} re-trainings took {duration(seconds)} the first time" if again else ""
    say(f"{len(missing)} of {len(this.plan.pieces)} to gather{cost}")


def _gather(this: _Gathering) -> list[str]:
    missing = this.missing()
    if not missing:
        return []
    from tuner.stages import evidence

    failures: list[str] = []
    total = len(this.plan.pieces)
    with (
        cluster.cluster(this.settings, inputs.places(this.study), this.console) as capacity,
        StageProgress(this.console, "evidence", total - len(missing), total) as stage,
    ):
        for pieces in (this.plan.first, this.plan.probes):
            ready, left = _ready(pieces, this.ledger)
            failures += evidence.run(ready, this.ledger, capacity, stage.advance)
            failures += left
    return failures


def _ready(pieces: Sequence[Evidence], ledger: Ledger) -> tuple[list[Evidence], list[str]]:
    """What can be gathered now, and why the rest of what is missing cannot."""
    ready, left = [], []
    for piece in pieces:
        if ledger.has(piece):
            continue
        if all(ledger.has(network) for network in _networks(piece)):
            ready.append(piece)
        else:
            left.append(f"{piece.kind}: its re-training failed")
    return ready, left


def _networks(piece: Evidence) -> list[Retraining]:
    """The re-trainings that a piece reads."""
    if not isinstance(piece, Probe):
        return []
    other = piece.surrogate if isinstance(piece, AttackEvidence) else None
    return [piece.network, *([other] if other else [])]


def _summarise(
    this: _Gathering,
    found: records.Collected,
    failures: Sequence[str],
    seconds: float,
    shown: bool,
) -> None:
    say, total = this.console.print, len(this.plan.pieces)
    done = total - len(this.missing())
    name = this.study.name
    say(f"\n{name}: {done} of {total} pieces of evidence, {duration(seconds)}", style="bold")
    networks, flags = found.tables["networks"], found.tables["flags"]
    same = sum(record["reproduced"] for record in networks)
    if networks:
        say(f"{same} of {len(networks)} re-trainings reproduced the stored scores image by image")
    flagged = {record["key"] for record in flags}
    say(f"{len(flagged)} of {len(found.tables['attacks'])} attacked transfers flagged")
    for record in flags:
        say(f"  {_called(record)}: {record['flag']}: {record['rule']}", markup=False)
    for reason in this.plan.skipped:
        say(f"skipped: {reason}", markup=False)
    if failures:
        say(f"\n{len(failures)} failed; what they printed is in {this.log}", style="bold")
        for reason in failures[:5]:
            say(f"  {reason}", markup=False)
        say("run the same command again: what is complete is kept")
    if shown:
        say(f"in MLflow: evidence/ among the artifacts of the run {name}", markup=False)
    else:
        say(f"MLflow lacks this: python -m tuner sync {this.origin}", markup=False)


def _called(record: dict[str, object]) -> str:
    parts = ("theta", "pruning", "level", "dataset", "regime", "seed")
    return " ".join(f"level {record[p]}" if p == "level" else str(record[p]) for p in parts)
