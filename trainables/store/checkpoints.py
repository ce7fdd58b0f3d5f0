"""Unfinished trainings on disk: where a killed one goes on.

One file a training: a line with the sha256 of the rest, a line of JSON, then a safetensors file. It
is written under a temporary name and moved into place; a damaged one is set aside, never used.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from search_spaces.spec import Scores
from trainables.store import atomic, epochs
from trainables.store.records import epoch_record
from trainables.training.loop import Best, Epoch, Progress
from trainables.training.overfitting import Signals
from trainables.training.ranks import from_first

SECONDS = 60.0
"""Progress is kept at the end of an epoch where the next could make more than this unkept: a killed
training repeats the longer of one epoch and one minute."""

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class TrainingCheckpoint:
    """Where the progress of one training is kept, and how often. `writes`: does this process? Ranks
    that train together all go on from what the first finds."""

    path: Path
    seconds: float = SECONDS
    writes: bool = True

    def epochs(
        self, training: Callable[[Progress | None], Iterator[Epoch]], last: int
    ) -> Iterator[tuple[Epoch, Records]]:
        """The epochs of a training from where it was left, each with the records of all so far.

        training: starts it, anew (None) or after a progress; last: the number of its last epoch,
        after which there is nothing to go on with. Meanwhile a file beside the checkpoint says
        which epoch it is in.
        """
        try:
            yield from self._kept(training, last)
        finally:
            if self.writes:
                epochs.withdraw(self._at_work)

    def _kept(
        self, training: Callable[[Progress | None], Iterator[Epoch]], last: int
    ) -> Iterator[tuple[Epoch, Records]]:
        saved_last = from_first(self.load())
        progress, records = saved_last if saved_last else (None, [])
        saved = ended = time.monotonic()
        self._tell(progress.epoch + 1 if progress else 1, last)
        for epoch in training(progress):
            records = [*records, epoch_record(epoch)]
            self._tell(epoch.number + 1, last)
            yield epoch, records
            now = time.monotonic()
            # The next epoch will take as long as this one did.
            due = now - saved + (now - ended) >= self.seconds
            ended = now
            if self.writes and due and epoch.number < last:
                try:
                    self.save(epoch.progress(), records)
                except OSError as error:
                    # Only a kill would miss it; there may be room again before the result.
                    print(f"{self.path}: not kept: {error.strerror}", file=sys.stderr)
                saved = ended = time.monotonic()

    @property
    def _at_work(self) -> Path:
        return self.path.with_suffix(epochs.SUFFIX)

    def _tell(self, epoch: int, last: int) -> None:
        if self.writes:
            epochs.tell(self._at_work, min(epoch, last), last)

    def load(self) -> tuple[Progress, Records] | None:
        """(progress, records of its epochs) as saved last; None if there is none that is whole."""
        try:
            digest, _, rest = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError:
            digest, rest = b"unreadable", b""
        if hashlib.sha256(rest).hexdigest().encode() != digest:
            print(f"{self.path}: damaged; its training starts anew", file=sys.stderr)
            with suppress(OSError):
                self.path.rename(self.path.with_suffix(".damaged"))
            return None
        text, _, tensors = rest.partition(b"\n")
        return _progress(json.loads(text), tensors)

    def left(self) -> tuple[Best | None, Records]:
        """(best state, records of the epochs) as saved last: what a training that ends before its
        first further epoch has to show."""
        saved_last = from_first(self.load())
        return (saved_last[0].best, saved_last[1]) if saved_last else (None, [])

    def save(self, progress: Progress, records: Records) -> None:
        """Keeps this progress in place of an earlier one, which stays if this cannot be written."""
        rest = _bytes(progress, records)
        atomic.write(self.path, hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)

    def remove(self) -> None:
        """The training is over: what was kept of it is of no more use."""
        if self.writes:
            self.path.unlink(missing_ok=True)


def _bytes(progress: Progress, records: Records) -> bytes:
    best = progress.best
    about = {
        "epoch": progress.epoch,
        "alpha": progress.alpha,
        "history": [asdict(signals) for signals in progress.history],
        "best": best and {"epoch": best.epoch, "scores": best.scores.model_dump()},
        "records": records,
    }
    groups = {"state": progress.state, "momentum": progress.momentum}
    groups |= {"best": best.state} if best else {}
    groups |= {"average": progress.average}
    tensors = {
        f"{group}/{name}": value.contiguous()
        for group, state in groups.items()
        for name, value in state.items()
    }
    return json.dumps(about).encode() + b"\n" + save(tensors)


def _progress(about: dict[str, Any], content: bytes) -> tuple[Progress, Records]:
    groups: dict[str, Any] = {"state": {}, "momentum": {}, "best": {}, "average": {}}
    for name, value in load(content).items():
        group, _, own = name.partition("/")
        groups[group][own] = value
    best = about["best"]
    progress = Progress(
        epoch=about["epoch"],
        state=groups["state"],
        momentum=groups["momentum"],
        alpha=about["alpha"],
        history=tuple(Signals(**signals) for signals in about["history"]),
        best=best and Best(best["epoch"], Scores(**best["scores"]), groups["best"]),
        average=groups["average"],
    )
    return progress, about["records"]
