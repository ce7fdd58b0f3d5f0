"""One training, from its epochs to what has come of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from search_spaces.regimes import Regime
from trainables.store.checkpoints import Records, TrainingCheckpoint
from trainables.store.records import epoch_record
from trainables.training.loop import Best, Epoch, Progress

State = Literal["running", "complete", "co_stopped", "diverged"]
Training = Callable[[Progress | None], Iterator[Epoch]]
"""Starts a training, anew (None) or after a progress."""


@dataclass(frozen=True)
class Outcome:
    """What has come of a training so far.

    state: `running`; `complete`, trained to its end; `co_stopped`, ended by its containment in
    catastrophic overfitting; `diverged`, ended by a loss or weight that is no number. best: the
    best validated state, None where none was validated. records: of all epochs, of those before an
    interruption too. collapsed: did its last epochs look collapsed, whatever the containment does
    about it? reason: why it diverged.
    """

    state: State
    best: Best | None
    records: Records
    collapsed: bool = False
    reason: str | None = None

    @property
    def ended(self) -> bool:
        return self.state != "running"

    @property
    def last(self) -> dict[str, Any]:
        """The record of the last epoch; empty where there is none."""
        return self.records[-1] if self.records else {}


def outcomes(
    training: Training, regime: Regime, checkpoint: TrainingCheckpoint | None = None
) -> Iterator[Outcome]:
    """The outcome after each epoch; the last one yielded has ended.

    With a checkpoint, a training that was interrupted goes on from there; it is the caller's to
    remove, once what the training was for is stored.
    """
    best: Best | None = None
    records: Records = []
    epochs = checkpoint.epochs if checkpoint else _unkept
    stops = regime.containment is not None and regime.containment.on_collapse == "stop"
    try:
        for epoch, records in epochs(training, regime.recipe.epochs):
            best = epoch.best
            state: State = "running"
            if epoch.collapsed and stops:
                state = "co_stopped"
            elif epoch.number == regime.recipe.epochs:
                state = "complete"
            yield Outcome(state, best, records, epoch.collapsed)
            if state != "running":
                return
    except FloatingPointError as error:
        if checkpoint and not records:
            # It went on from an interruption, and ended before a further epoch did.
            best, records = checkpoint.left()
        yield Outcome("diverged", best, records, reason=str(error))


def outcome(
    training: Training, regime: Regime, checkpoint: TrainingCheckpoint | None = None
) -> Outcome:
    """The outcome of a training that is run to its end."""
    for reached in outcomes(training, regime, checkpoint):
        if reached.ended:
            return reached
    raise RuntimeError("a training ended without an outcome: its checkpoint is past its end")


def _unkept(training: Training, last: int) -> Iterator[tuple[Epoch, Records]]:
    records: Records = []
    for epoch in training(None):
        records = [*records, epoch_record(epoch)]
        yield epoch, records
