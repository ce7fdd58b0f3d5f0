"""What is kept of a training, as JSON."""

import socket
import time
from dataclasses import asdict
from typing import Any

import torch

from trainables.training import Epoch


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
    return record


def provenance(started: float, device: torch.device, workers: int = 1) -> dict[str, Any]:
    """When (seconds since 1970), where and on what a result was computed. Never part of a key."""
    return {
        "started": started,
        "ended": time.time(),
        "host": socket.gethostname(),
        "device": device.type,
        "workers": workers,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
