"""The transfer stage: one Ray Tune trial for every transfer that the ledger lacks."""

import uuid
from collections.abc import Callable
from shutil import rmtree
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from search_spaces.grid import TransferCell
from search_spaces.spec import Transfer
from trainables.ledger import Ledger
from trainables.overfitting import Signals, must_stop
from trainables.transfer_trial import transfer_trial
from tuner.cluster import Capacity


class CollapseStopper(tune.Stopper):
    """Ends a trial in catastrophic overfitting, by the decision that the trial itself takes.

    The trial has judged and stored its best state before it reports the epoch that ends it.
    """

    def __init__(self) -> None:
        self._history: dict[str, list[Signals]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if "signals" not in result:
            return False
        history = self._history.setdefault(trial_id, [])
        history.append(Signals(**result["signals"]))
        transfer = Transfer.model_validate_json(result["config"]["transfer"])
        return must_stop(history, transfer.regime.containment)

    def stop_all(self) -> bool:
        return False


class _Watcher(tune.Callback):
    """Tells the driver of finished trials."""

    def __init__(self, ended: Callable[[str], None], failed: Callable[[str, str], None]) -> None:
        self._ended, self._failed = ended, failed

    def __getstate__(self) -> dict[str, Any]:
        # Tune keeps a copy of its callbacks on disk for a restore that never comes here.
        return {}

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._ended(trial.config["transfer"])

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        lines = (trial.get_error() and str(trial.get_error()).strip().splitlines()) or ["died"]
        self._failed(trial.config["transfer"], lines[-1])


def run(
    cells: list[TransferCell],
    ledger: Ledger,
    capacity: Capacity,
    found: Callable[[TransferCell], None],
) -> list[str]:
    """Runs the transfers, calling `found` for each as it ends; returns why any failed."""
    if not cells:
        return []
    by_json = {cell.transfer.model_dump_json(): cell for cell in longest_first(cells)}
    failures: list[str] = []
    name = f"transfers-{uuid.uuid4().hex[:8]}"
    storage = ledger.root / "ray"
    watcher = _Watcher(
        ended=lambda text: found(by_json[text]),
        failed=lambda text, why: failures.append(f"{by_json[text].key}: {why}"),
    )
    tuner = tune.Tuner(
        tune.with_resources(
            transfer_trial, {"cpu": capacity.trial_cpus, "gpu": capacity.trial_gpus}
        ),
        param_space={"storage": str(ledger.root), "transfer": tune.grid_search(list(by_json))},
        # A fresh process costs seconds to start: finished ones take the next trial.
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            stop=CollapseStopper(),
            callbacks=[watcher],
            failure_config=tune.FailureConfig(max_failures=1),
            verbose=0,
        ),
    )
    tuner.fit()
    if not failures:
        rmtree(storage / name, ignore_errors=True)
    return failures


def longest_first(cells: list[TransferCell]) -> list[TransferCell]:
    """By falling number of passes over the data, so that the last trials to end are short ones."""
    return sorted(
        cells, key=lambda cell: cell.transfer.regime.passes * cell.transfer.fraction, reverse=True
    )
