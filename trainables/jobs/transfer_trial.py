"""Ray Tune trial of the transfer stage: a thin shell around a transfer."""

import os
from pathlib import Path
from typing import Any

import torch
from ray import tune

from search_spaces.finished.weights import weights
from search_spaces.spec import Transfer
from trainables.jobs import transfer
from trainables.runtime.allocation import keep_freed
from trainables.store.ledger import Ledger


def transfer_trial(config: dict[str, Any]) -> None:
    """Runs one transfer and writes it to the ledger, reporting every epoch to Ray Tune. One that
    was killed goes on from where its progress was kept.

    config: `transfer`, the JSON of a Transfer; `storage`, the ledger's root; `keep`, whether the
    weights it ends in are kept. The process is reused from trial to trial: nothing here may depend
    on what ran before, and everything random comes from the transfer's own seed.
    """
    spec = Transfer.model_validate_json(config["transfer"])
    ledger = Ledger(Path(config["storage"]))
    if ledger.has(spec):
        # Written by a process that was killed before Ray Tune heard of it.
        (last,) = ledger.result(spec)["epochs"][-1:] or [{}]
        tune.report({**last, "ends": True})
        return
    if ledger.has(weights(spec)):
        # Damaged ones are trained anew.
        ledger.set_aside_if_damaged(weights(spec))
    keep_freed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = transfer.prepare(spec, ledger, device)
    for record in transfer.run(task, ledger, keep=config["keep"]):
        tune.report(record)
