"""What is kept of a training, as JSON."""

import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from trainables.runtime.capture import EAGER
from trainables.runtime.compilation import compilation
from trainables.runtime.precision import precision
from trainables.training.loop import Epoch


def epoch_record(epoch: Epoch) -> dict[str, Any]:
    """One epoch's numbers: accuracies in [0, 1], seconds of wall time; no weights."""
    record: dict[str, Any] = {
        "number": epoch.number,
        "loss": epoch.loss,
        "accuracy": epoch.accuracy,
        "lr": epoch.lr,
        "seconds": epoch.seconds,
    }
    if epoch.alpha is not None:
        record["alpha"] = epoch.alpha
    if epoch.val:
        record["val"] = epoch.val.model_dump(exclude_none=True)
    if epoch.signals:
        record["signals"] = asdict(epoch.signals)
    if epoch.execution != EAGER:
        record["execution"] = epoch.execution
    return record


@dataclass(frozen=True)
class Moment:
    """wall: seconds since 1970, a label, since a machine's clock may be set meanwhile; monotonic:
    seconds of this process, from which durations are taken."""

    wall: float
    monotonic: float


def now() -> Moment:
    """This moment."""
    return Moment(time.time(), time.monotonic())


def provenance(
    started: Moment,
    device: torch.device,
    workers: int = 1,
    epochs: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """When (seconds since 1970; the difference is what it took), where, on what and how a result
    was computed; epochs: the records of the training behind it. Never part of a key."""
    return {
        "started": started.wall,
        "ended": started.wall + time.monotonic() - started.monotonic,
        "host": socket.gethostname(),
        "device": device.type,
        "workers": workers,
        "threads": torch.get_num_threads(),
        "precision": precision(),
        "compilation": compilation(),
        "execution": epochs[-1].get("execution", EAGER) if epochs else EAGER,
        "torch": torch.__version__,
    }
