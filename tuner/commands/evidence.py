"""python -m tuner evidence: plan, first pieces, probes, MLflow, a summary."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from search_spaces.errors import InputError
from search_spaces.finished.evidence import AttackEvidence, Evidence, Landscape, Probe, Retraining
from search_spaces.finished.weights import weights
from search_spaces.study import Study
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster.capacity import cluster
from tuner.evidence.plan import EvidencePlan, Wish, plan, wish
from tuner.options import (
    AddressOpt,
    CpusOpt,
    DataOpt,
    GpusOpt,
    SetOpt,
    StorageOpt,
    StudyArg,
    WithOpt,
    asked,
    load,
)
from tuner.runtime.console import duration
from tuner.runtime.progress import StageProgress
from tuner.runtime.settings import Origin, Settings, rerun
from tuner.scheduling.worklist import Worklist, worklist
from tuner.stages.conclusion import Conclusion, conclude
from tuner.stages.session import Session, check, session
from tuner.storage import inputs
from tuner.storage.integrity import check_storage
from tuner.tracking.tracker import Tracker

if TYPE_CHECKING:
    from tuner.evidence.records import Collected

_NAMES = {
    "masks": "mask comparisons",
    "records": "record comparisons",
    "retraining": "re-trainings",
    "landscape": "landscapes",
    "calibration": "calibrations",
    "attacks": "attack series",
    "autoattack": "AutoAttacks",
}


def evidence(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    address: AddressOpt = None,
    cpus: CpusOpt = 1.0,
    gpus: GpusOpt = None,
    levels: Annotated[
        str | None,
        typer.Option(help="Of these levels, as in 0,4,9; default: dense, extreme, next."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of every finished transfer.")] = False,
    points: Annotated[int, typer.Option(help="Points along a side of a landscape, odd.")] = 11,
    images: Annotated[int, typer.Option(min=1, help="Test images of a landscape.")] = 128,
    reattack: Annotated[
        int, typer.Option(min=0, help="PGD steps at each point of a landscape; 0: attack once.")
    ] = 2,
    autoattack_images: Annotated[
        int, typer.Option(min=0, help="Test images of AutoAttack; 0: none.")
    ] = 50,
    paths: Annotated[
        bool,
        typer.Option(
            "--paths", help="Train again also what has kept its weights, for its path (fig6, a9)."
        ),
    ] = False,
) -> None:
    """Gather evidence on what is finished of a study: masks, agreement, landscapes, calibration,
    masked gradients, AutoAttack.

    Transfers that have not kept their weights are trained again. Running again resumes. The
    evidence goes to evidence/ among the artifacts of the study's MLflow run.
    """
    wanted = wish(levels, everything, points, images, reattack, autoattack_images, paths)
    settings = Settings(storage, data, address, None, cpus, gpus)
    origin = asked(study, overrides, fragments)
    raise typer.Exit(gather(load(origin, data), settings, origin, wanted))


def gather(study: Study, settings: Settings, origin: Origin, wanted: Wish) -> int:
    """Gathers what the ledger lacks of a study's evidence, and puts all of it into MLflow.

    Returns the exit code: 0, or 1 if something failed. Raises InputError before anything is
    started, also where no transfer or ticket of the study is finished.
    """
    check(study, settings)
    work = worklist(study, Ledger(settings.storage.resolve()))
    if not work.complete:
        raise InputError(
            f"study {study.name}: nothing finished in {settings.storage}: "
            f"run it first: python -m tuner run {rerun(origin, settings)}"
        )
    ledger = open_ledger(settings.storage)
    pieces: list[Evidence] = []

    def kept() -> str:
        done = sum(map(ledger.has, pieces))
        return f"{done} of {len(pieces)} pieces of evidence on {study.name}"

    with session(work, settings, origin, f"{study.name}-evidence", kept) as opened:
        if opened.tidy(work.finished):
            opened.say(f"to have it again: python -m tuner run {opened.rerun}")
        work = work.refreshed()
        planned = plan(work, wanted)
        pieces += planned.pieces
        opened.tidy(piece for piece in planned.pieces if ledger.has(piece))
        return _Gathering(opened, work, planned).execute()


@dataclass(frozen=True)
class _Gathering:
    """One gathering of the evidence that is planned."""

    session: Session
    work: Worklist
    plan: EvidencePlan

    def execute(self) -> int:
        """From the plan to the summary; returns the exit code."""
        from tuner.evidence import records

        self._announce()
        began = time.monotonic()
        failures = self._gather()
        if failures:
            check_storage(self.session.ledger)
        collected = records.collect(self.work)
        written = records.files(collected, self.plan.skipped, len(self._missing()))

        def write(tracker: Tracker) -> Conclusion:
            tracker.attach(written, "evidence")
            return conclude(self.work.refreshed(), tracker)

        shown = self.session.window.finish(write) is not None
        self._summarise(collected, failures, time.monotonic() - began, shown)
        return 1 if failures else 0

    def _missing(self) -> list[Evidence]:
        return [piece for piece in self.plan.pieces if not self.session.ledger.has(piece)]

    def _announce(self) -> None:
        """What it will cost."""
        at, missing = self.session, self._missing()
        counts = ", ".join(f"{n} {_NAMES[kind]}" for kind, n in self.plan.counts.items())
        at.say(f"evidence of {at.study.name}: {counts}")
        if not missing:
            return
        again = [piece.transfer for piece in missing if isinstance(piece, Retraining)]
        results = map(at.ledger.result, again)
        seconds = sum(result["ended"] - result["started"] for result in results)
        took = f"{len(again)} re-trainings took {duration(seconds)} the first time"
        cost = f"; {took}" if again else ""
        at.say(f"{len(missing)} of {len(self.plan.pieces)} to gather{cost}")

    def _gather(self) -> list[str]:
        """Gathers what is missing; returns why any failed."""
        at, missing, total = self.session, len(self._missing()), len(self.plan.pieces)
        if not missing:
            return []
        from tuner.stages import evidence

        failures: list[str] = []
        with (
            cluster(at.settings, inputs.places(at.study), at.console) as capacity,
            StageProgress(at.console, "evidence", total - missing, total) as progress,
        ):
            for pieces in (self.plan.first, self.plan.probes):
                ready, left = _ready(pieces, at.ledger)
                failures += evidence.run(ready, at.ledger, capacity, progress.advance)
                failures += left
        return failures

    def _summarise(
        self, collected: "Collected", failures: Sequence[str], seconds: float, shown: bool
    ) -> None:
        at, total, name = self.session, len(self.plan.pieces), self.session.study.name
        done = total - len(self._missing())
        at.say(f"\n{name}: {done} of {total} pieces of evidence, {duration(seconds)}", "bold")
        networks, flags = collected.tables["networks"], collected.tables["flags"]
        if networks:
            same = sum(record["reproduced"] for record in networks)
            again = f"{same} of {len(networks)} re-trainings"
            at.say(f"{again} reproduced the stored scores image by image")
        flagged = {record["key"] for record in flags}
        at.say(f"{len(flagged)} of {len(collected.tables['attacks'])} attacked transfers flagged")
        for record in flags:
            at.say(f"  {_called(record)}: {record['flag']}: {record['rule']}")
        for reason in self.plan.skipped:
            at.say(f"skipped: {reason}")
        if failures:
            at.say(f"\n{len(failures)} failed; what they printed is in {at.log}", "bold")
            for reason in failures[:5]:
                at.say(f"  {reason}")
            at.say("run the same command again: what is complete is kept")
        if shown:
            at.say(f"in MLflow: evidence/ among the artifacts of the run {name}")
        else:
            at.say(f"MLflow lacks this: python -m tuner sync {at.named}")


def _ready(pieces: Sequence[Evidence], ledger: Ledger) -> tuple[list[Evidence], list[str]]:
    """What can be gathered now, and why the rest of what is missing cannot."""
    ready, left = [], []
    for piece in pieces:
        if ledger.has(piece):
            continue
        if all(ledger.has(network) for network in _re_trained(piece, ledger)):
            ready.append(piece)
        else:
            left.append(f"{piece.kind}: its re-training failed")
    return ready, left


def _re_trained(piece: Evidence, ledger: Ledger) -> list[Retraining]:
    """The re-trainings that a piece reads: of a path, or of weights that are not kept."""
    if not isinstance(piece, Probe):
        return []
    other = piece.surrogate if isinstance(piece, AttackEvidence) else None
    networks = [piece.network, *([other] if other else [])]
    if isinstance(piece, Landscape) and piece.path:
        return networks
    return [each for each in networks if not ledger.has(weights(each.transfer))]


def _called(record: dict[str, object]) -> str:
    parts = ("theta", "pruning", "level", "dataset", "regime", "seed")
    return " ".join(f"level {record[p]}" if p == "level" else str(record[p]) for p in parts)
