"""Is a network as sure as it is right? Confidence against accuracy (Guo et al. 2017)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.finished.evidence import Calibration
from search_spaces.regimes import Attack
from trainables.data.images import Images
from trainables.evidence import retraining
from trainables.evidence.agreement import per_class
from trainables.runtime.seeding import generator
from trainables.store.ledger import Ledger
from trainables.store.tensors import npz
from trainables.training.attacks import perturb
from trainables.training.evaluation import BATCH


def reliability(confidence: Tensor, right: Tensor, bins: int) -> dict[str, Any]:
    """How well confidence, (N,) in [0, 1], tells correctness, (N,) bool.

    `bins`: those of `bins` equal bins of (0, 1] that hold images, each with low, high, count, mean
    confidence and accuracy. `ece`: the mean over images of their bin's |accuracy - confidence|.
    `confidence`, `accuracy`: means over all.
    """
    sure, hit = confidence.double(), right.double()
    place = (sure * bins).ceil().long().clamp(1, bins) - 1
    filled = []
    for k in place.unique().tolist():
        inside = place == k
        filled.append(
            {
                "low": k / bins,
                "high": (k + 1) / bins,
                "count": int(inside.sum()),
                "confidence": sure[inside].mean().item(),
                "accuracy": hit[inside].mean().item(),
            }
        )
    gaps = (b["count"] * abs(b["accuracy"] - b["confidence"]) for b in filled)
    return {
        "ece": sum(gaps) / len(sure),
        "confidence": sure.mean().item(),
        "accuracy": hit.mean().item(),
        "bins": filled,
    }


def calibrate(spec: Calibration, ledger: Ledger) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files): for clean and attacked test images their `reliability`, and accuracy class
    by class (`per_class`); images.npz holds label and, for both views, prediction and confidence.

    Attacked by the evaluation's attack, its last iterate, from one start: every image, also those
    that are wrong when clean.
    """
    task = retraining.trained(spec.network, ledger)
    attack = spec.network.transfer.evaluation.attack
    parts = torch.arange(len(task.data.test)).split(BATCH)
    rows = [
        answers(task.net, batch, attack, number)
        for number, batch in enumerate(task.data.test.stream(parts, None))
    ]
    arrays = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    labels = arrays["label"]
    result: dict[str, Any] = {"images": len(labels)}
    for view in ("clean", "attacked"):
        right = arrays[f"{view}_prediction"] == labels
        result[view] = reliability(arrays[f"{view}_confidence"], right, spec.bins)
        result[view]["per_class"] = per_class(right, labels, task.data.classes)
    values = {name: np.asarray(value) for name, value in arrays.items()}
    return result, {"images.npz": npz(values)}


def answers(net: nn.Module, batch: Images, attack: Attack, number: int) -> dict[str, Tensor]:
    """(N,) each, on the CPU: label, and by view the predicted class and its probability; -1 and 0
    where an image's logits are not finite."""
    x = batch.pixels()
    rng = generator(0, "calibration", number, device=x.device)
    answers = {"label": batch.y.cpu()}
    for view, image in (("clean", x), ("attacked", perturb(net, x, batch.y, attack, rng))):
        with torch.no_grad():
            logits = net(image)
        sure, predicted = logits.softmax(1).max(1)
        lost = ~logits.isfinite().all(1)
        answers[f"{view}_prediction"] = predicted.masked_fill(lost, -1).cpu()
        answers[f"{view}_confidence"] = sure.masked_fill(lost, 0).cpu()
    return answers
