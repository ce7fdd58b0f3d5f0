"""What failed, kept at the storage: a record for each key, gone when its result is there.

A record is `failures/KEY.json`; all that is known of the failure is in `logs/failed/KEY.txt`. What
failed in two runs with the same error would most likely fail again: it is lasting, and is not tried
unless that is asked for. What the machine did (a killed process, a lost node, a full disk or
memory) says nothing of the next time, and never lasts.
"""

import json
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.store.disclosure import without_secrets
from trainables.runtime import memory
from trainables.store import atomic
from trainables.store.ledger import DamagedError, Ledger
from tuner.storage.entries import Entry

FOLDER, _TRACES = "failures", "logs/failed"
LASTING = 2
"""Runs in which the same error is met before it is taken for lasting."""
SEARCH = "search"
_LONGEST, _SHOWN = 300, 10
# By name: the libraries that raise them are not to be loaded here.
_DIED = "worker process has died"
_MACHINE = ("OutOfMemoryError", "AcceleratorError", "DistBackendError", "DistNetworkError")


@dataclass(frozen=True)
class FailureReason:
    """Why a training failed: `error` in one line, `trace` all that is known; outside: was it what
    the machine did, rather than what was trained?"""

    error: str
    trace: str
    outside: bool


@dataclass(frozen=True)
class Failure:
    """The latest failure of a key. result, log: where its result is to be and where the trace is,
    below the storage; stage, name: as its MLflow run is called; when: local time, a label;
    attempts: runs in a row that met this error."""

    key: str
    result: str
    stage: str
    name: str
    study: str
    error: str
    log: str
    when: str
    attempts: int
    outside: bool

    @property
    def lasting(self) -> bool:
        """Would trying again most likely be in vain?"""
        return not self.outside and self.attempts >= LASTING


def reason_of(error: BaseException) -> FailureReason:
    """What an error, as Ray Tune or Ray Train hands it on, says of the training."""
    # Tune wraps what a training raised; Train does not, or did so.
    cause = getattr(error, "cause", None) or getattr(error, "_base_exc", None)
    if not isinstance(cause, BaseException):
        if _of_ray(error):
            # Not raised by the training: its process or node is gone, or Ray itself failed.
            return reason_by_ray(str(error) or type(error).__name__)
        cause = error
    machine = isinstance(cause, OSError | MemoryError | DamagedError)
    machine = machine or type(cause).__name__ in _MACHINE
    # RayError itself stands for a cause that could not be handed on.
    machine = machine or (_of_ray(cause) and type(cause).__name__ != "RayError")
    message, name = " ".join(str(cause).split()), type(cause).__name__
    return _shown(f"{name}: {message}" if message else name, str(error), machine)


def reason_by_ray(text: str) -> FailureReason:
    """What Ray says where it was not the training that raised something."""
    message = " ".join(text.split())
    if memory.named_in(text):
        message = f"its process was killed for lack of memory: {memory.REMEDY}"
    elif _DIED in message:
        # Ray knows of no signal's number, and says so over twelve lines.
        message = (
            "its process died of a signal: it crashed in native code, or was killed from outside"
        )
    return _shown(message, text, outside=True)


def _of_ray(error: BaseException) -> bool:
    return type(error).__module__.startswith("ray.")


def _shown(message: str, trace: str, outside: bool) -> FailureReason:
    return FailureReason(without_secrets(message)[:_LONGEST], without_secrets(trace), outside)


def folders(root: Path) -> list[Path]:
    """Where a storage has records and traces."""
    return [root / FOLDER, root / _TRACES]


def record(ledger: Ledger, entry: Entry, study: str, why: FailureReason) -> Failure:
    """Keeps a failure at a storage, in place of an earlier one of its key."""
    root = ledger.root
    before = of_key(root, entry.key)
    again = before and not (before.outside or why.outside) and _alike(before.error, why.error)
    failure = Failure(
        key=entry.key,
        result=str(ledger.folder(entry.spec).relative_to(root)),
        stage=entry.stage,
        name=entry.name,
        study=study,
        error=why.error,
        log=f"{_TRACES}/{entry.key}.txt",
        when=time.strftime("%F %T"),
        attempts=1 + (before.attempts if before and again else 0),
        outside=why.outside,
    )
    try:
        if ledger.there:
            for folder in folders(root):
                folder.mkdir(parents=True, exist_ok=True)
        atomic.write(root / failure.log, why.trace + "\n")
        atomic.write(root / FOLDER / f"{entry.key}.json", json.dumps(asdict(failure), indent=1))
    except OSError:
        pass  # A storage that takes no more: that is what the run dies of, or is told by others.
    return failure


def of_key(root: Path, name: str) -> Failure | None:
    """The failure of a key, if there is one."""
    return _read(root / FOLDER / f"{name}.json")


def recorded(root: Path) -> dict[str, Failure]:
    """Key -> its failure, of all that have no result at a storage."""
    read = map(_read, sorted((root / FOLDER).glob("[!.]*.json")))
    return {failure.key: failure for failure in read if failure and not _mended(root, failure)}


def lasting(root: Path) -> set[str]:
    """The keys that a plain run does not try again."""
    return {name for name, failure in recorded(root).items() if failure.lasting}


def of_runs(own: Collection[str], root: Path) -> list[Failure]:
    """The failures of a study's thetas, tickets and transfers, whose keys are `own`."""
    return [failure for failure in recorded(root).values() if failure.key in own]


def of_study(own: Collection[str], study: str, root: Path) -> list[Failure]:
    """The same, and those of its search's trials; study: its name."""
    tried = (SEARCH, study)
    trials = [f for f in recorded(root).values() if (f.stage, f.study) == tried]
    return [*of_runs(own, root), *trials]


def lines(failures: Sequence[Failure], root: Path, origin: str) -> list[str]:
    """Failures for people; origin: what names the study on the command line."""
    if not failures:
        return []
    shown = [f"{len(failures)} failed:"]
    for failure in sorted(failures, key=lambda failure: failure.name)[:_SHOWN]:
        what = failure.name if failure.stage in failure.name else f"{failure.stage} {failure.name}"
        often = f"in {failure.attempts} runs, last" if failure.attempts > 1 else "at"
        shown.append(f"  {what}: {failure.error} ({often} {failure.when}; {root / failure.log})")
    if len(failures) > _SHOWN:
        shown.append(f"  and {len(failures) - _SHOWN} more: {root / FOLDER}")
    if not_again := sum(failure.lasting for failure in failures):
        shown.append(
            f"{not_again} in {LASTING} runs or more with the same "
            f"error, not tried again but by: python -m tuner run {origin} --retry-failed"
        )
    return shown


def mended(root: Path) -> list[Path]:
    """The files about failures of what has a result by now."""
    files = []
    for file in (root / FOLDER).glob("[!.]*.json"):
        failure = _read(file)
        if failure and _mended(root, failure):
            files += [file, *(path for path in [root / failure.log] if path.exists())]
    return files


def forget_mended(root: Path) -> None:
    """Removes the records of what has a result by now."""
    for file in mended(root):
        file.unlink(missing_ok=True)


def _mended(root: Path, failure: Failure) -> bool:
    return (root / failure.result).is_dir()


def _read(file: Path) -> Failure | None:
    """A record; None for one that is not there or cannot be read."""
    try:
        return Failure(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _alike(one: str, other: str) -> bool:
    """The same error, but for numbers: sizes, process ids, temporary names."""
    return _bare(one) == _bare(other)


def _bare(error: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+", "#", error)
