"""Ray Tune trial of a search: a thin shell around one tuning."""

import os
from pathlib import Path

import torch
from ray import tune

from search_spaces.errors import InputError
from search_spaces.trials import Trial
from trainables.jobs import tuning
from trainables.runtime.allocation import keep_freed
from trainables.store.ledger import DamagedError, Ledger
from trainables.store.records import now, provenance

NOTHING = {"sa": 0.0, "ra": 0.0}
"""What a recipe is worth that does not train to its end."""


def search_trial(config: dict[str, str]) -> None:
    """Runs one trial and writes it to the ledger, reporting after every epoch to Ray Tune.

    config: `trial`, the JSON of a Trial, and `storage`, the ledger's root. What the training
    itself raises is a finding about its recipe, and is stored; what the machine raises is not.
    """
    spec = Trial.model_validate_json(config["trial"])
    ledger = Ledger(Path(config["storage"]))
    if ledger.has(spec):
        # Drawn before, perhaps by an earlier run.
        tune.report(ledger.result(spec)["best"] or NOTHING)
        return
    keep_freed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started = now()
    try:
        for result in tuning.run(spec, ledger, device):
            # Written before the last report: a trial that is ended gets no more time.
            if result["state"] != "running":
                ledger.write(spec, result, {})
            tune.report({**result["best"], "result": result})
    except (InputError, DamagedError):
        raise
    except (FloatingPointError, RuntimeError, ValueError) as error:
        result = {
            "state": "diverged" if isinstance(error, FloatingPointError) else "failed",
            "reason": " ".join(str(error).split())[-300:],
            "best": {},
            "epochs": [],
            **provenance(started, device),
        }
        ledger.write(spec, result, {})
        tune.report(NOTHING)
