"""Any piece of evidence, from its spec to the ledger: what a Ray task of that stage runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from search_spaces.finished.evidence import (
    AttackEvidence,
    AutoAttackEvidence,
    Calibration,
    Evidence,
    Landscape,
    MaskEvidence,
    RecordEvidence,
    Retraining,
    from_json,
)
from trainables.evidence import (
    agreement,
    calibration,
    gradient_masking,
    landscape,
    masks,
    retraining,
)
from trainables.judging import checks
from trainables.runtime.allocation import keep_freed
from trainables.store.ledger import Ledger
from trainables.store.records import now, provenance
from trainables.store.tensors import to_bytes
from trainables.training.evaluation import evaluate


def gather(text: str, storage: str) -> None:
    """Computes a piece of evidence, given as JSON, and writes it to the ledger at `storage`.

    Its process is reused from piece to piece: nothing may depend on what ran before.
    """
    spec, ledger = from_json(text), Ledger(Path(storage))
    if ledger.has(spec):
        return
    keep_freed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    started = now()
    result, files = compute(spec, ledger)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ledger.write(spec, {"state": "complete", **result, **provenance(started, device)}, files)


def compute(spec: Evidence, ledger: Ledger) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """(result, files) of a piece of evidence. What it is about is in the ledger."""
    match spec:
        case MaskEvidence():
            return masks.compare(spec, ledger)
        case RecordEvidence():
            return agreement.examine(spec, ledger)
        case Retraining():
            return retraining.retrain(spec, ledger)
        case Landscape():
            return landscape.survey(spec, ledger)
        case Calibration():
            return calibration.calibrate(spec, ledger)
        case AttackEvidence():
            return gradient_masking.attack(spec, ledger)
        case AutoAttackEvidence():
            return _autoattack(spec, ledger)


def _autoattack(
    spec: AutoAttackEvidence, ledger: Ledger
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    task = retraining.trained(spec.network, ledger)
    record, right = checks.run(spec.check, task.net, task.data)
    evaluation = spec.network.transfer.evaluation
    same = task.data.test[: record["images"]]
    ours = evaluate(task.net, same, evaluation.attack, evaluation.protocol).scores.ra
    result = {**record, "pgd_ra": ours, "epsilon": spec.check.epsilon}
    return result, {"correct.safetensors": to_bytes({"autoattack": right})}
