"""Does a network hide its gradients, rather than withstand attacks? Signs, and the decision.

Gradient-based attacks fail on masked gradients without the network being robust (Athalye et al.
2018). Carlini et al. 2019, section 4, name what gives it away; every sign here is one of theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.finished.evidence import AttackEvidence
from search_spaces.regimes import Attack, Norm
from trainables.data.images import ImageSet
from trainables.evidence import retraining
from trainables.judging import checks
from trainables.store.ledger import Ledger
from trainables.store.tensors import to_bytes
from trainables.training.attacks import gradient
from trainables.training.evaluation import BATCH, evaluate

BEYOND_NOISE = 3.0
"""Standard errors of a paired difference that a sign must exceed: one in 740 by chance."""
ZERO_GRADIENTS = 0.01
"""Share of images whose input gradient may be zero."""
LEFT_AT_HUGE = 0.05
"""Accuracy that may be left under the huge epsilon, where any image can become any grey."""
SQUARE_NEEDS = 500
"""Images from which AutoAttack's warning about Square counts: it speaks up at 0.2 points, which
on fewer images is less than one of them. Below, it is kept among the warnings alone."""


@dataclass(frozen=True)
class Flag:
    """A sign of masked gradients: its name, the rule, and the numbers that broke it."""

    flag: str
    rule: str
    numbers: dict[str, float]


def excess(weaker: Tensor, stronger: Tensor) -> tuple[float, float]:
    """How much lower accuracy is under the attack that ought to be weaker, and the difference's
    standard error, from the same images: (N,) bool, correct or not under each.

    accuracy(stronger) - accuracy(weaker), positive when something is odd; the error is that of a
    mean of N paired differences."""
    gap = stronger.double() - weaker.double()
    return gap.mean().item(), (gap.std(unbiased=False) / len(gap) ** 0.5).item()


def flags(right: Mapping[str, Tensor], zero_gradients: float) -> list[Flag]:
    """The signs of masked gradients in a network's correctness under several attacks.

    right: (N,) bool by attack: `white_box` (the evaluation's own), `pgd_K` for some step numbers,
    `huge` and, where there was one, `black_box`. zero_gradients: share of images in [0, 1].
    """
    raised: list[Flag] = []
    steps = sorted(int(name[4:]) for name in right if name.startswith("pgd_"))
    pairs = [
        ("more_steps_are_weaker", f"pgd_{few}", f"pgd_{many}") for few, many in pairwise(steps)
    ]
    if "black_box" in right:
        pairs.append(("black_box_beats_white_box", "black_box", "white_box"))
    for flag, weaker, stronger in pairs:
        raised += _weaker(flag, weaker, stronger, right)
    if zero_gradients > ZERO_GRADIENTS:
        rule = f"more than {ZERO_GRADIENTS:.0%} of images have a zero input gradient"
        raised.append(Flag("zero_gradients", rule, {"zero_gradients": zero_gradients}))
    if _share(right["huge"]) > LEFT_AT_HUGE:
        rule = f"more than {LEFT_AT_HUGE:.0%} of images withstand the huge epsilon"
        raised.append(Flag("huge_epsilon_fails", rule, {"huge": _share(right["huge"])}))
    return raised


def _weaker(flag: str, weaker: str, stronger: str, right: Mapping[str, Tensor]) -> list[Flag]:
    """A flag where the stronger attack leaves more images correct, beyond noise."""
    gap, error = excess(right[weaker], right[stronger])
    if gap <= max(0.0, BEYOND_NOISE * error):
        return []
    numbers = {weaker: _share(right[weaker]), stronger: _share(right[stronger])}
    rule = f"accuracy under {stronger} is more than 3 standard errors above {weaker}'s"
    return [Flag(flag, rule, {**numbers, "gap": gap, "standard_error": error})]


def warnings_flag(warnings: list[str], images: int) -> list[Flag]:
    """AutoAttack's own warnings, on so many images, as a flag: none, or one that quotes them."""
    heard = [w for w in warnings if images >= SQUARE_NEEDS or not w.startswith("Square Attack")]
    if not heard:
        return []
    rule = f"AutoAttack says: {' | '.join(heard)}"
    return [Flag("autoattack_warns", rule, {"warnings": len(heard), "images": images})]


def check_flags(checks: Sequence[Mapping[str, Any]], record: Mapping[str, Tensor]) -> list[Flag]:
    """The signs in a transfer's own checks: AutoAttack's warnings, and an attack made on another
    network that beats the evaluation's. checks: as stored in its result; record: its per-image
    correctness."""
    raised: list[Flag] = []
    for number, check in enumerate(checks):
        raised += warnings_flag(check["warnings"], check["images"])
        if check["kind"] == "transfer_attack":
            other = record[f"check.{number}"]
            pair = {"black_box": other, "white_box": record["attacked"][: len(other)]}
            raised += _weaker("black_box_beats_white_box", "black_box", "white_box", pair)
    return raised


def attack(spec: AttackEvidence, ledger: Ledger) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(result, files): `ra` by attack and `zero_gradients`; correct.safetensors holds each image's
    correctness under each attack. What they mean, `flags` decides when they are read.

    All attacks but the evaluation's own count by their last iterate. PGD-K's step is 2.5 epsilon /
    K (Madry et al. 2018), at most 2 epsilon.
    """
    task = retraining.trained(spec.network, ledger)
    evaluation = spec.network.transfer.evaluation
    images = task.data.test[: spec.images]
    own = evaluate(task.net, images, evaluation.attack, evaluation.protocol)
    assert own.attacked is not None, "an attack was asked for"
    right = {"clean": own.clean, "white_box": own.attacked}
    for steps in spec.steps:
        usual = evaluation.attack
        right[f"pgd_{steps}"] = _under(task.net, images, usual.epsilon, steps, usual.norm)
    right["huge"] = _under(task.net, images, spec.huge_epsilon, max(spec.steps), "linf")
    if spec.surrogate is not None:
        other = retraining.trained(spec.surrogate, ledger).net
        right["black_box"] = checks.withstands_other(task.net, other, images, evaluation.attack)
    result = {
        "images": len(images),
        "ra": {name: _share(bits) for name, bits in right.items()},
        "zero_gradients": zero_gradients(task.net, images),
    }
    return result, {"correct.safetensors": to_bytes(right)}


def zero_gradients(net: nn.Module, images: ImageSet) -> float:
    """Share, in [0, 1], of images at which the loss's input gradient is zero everywhere."""
    batches = images.stream(torch.arange(len(images)).split(BATCH), None)
    vanish = [
        (gradient(net, batch.pixels(), batch.y)[0].flatten(1) == 0).all(1) for batch in batches
    ]
    return torch.cat(vanish).double().mean().item()


def _under(net: nn.Module, images: ImageSet, epsilon: float, steps: int, norm: Norm) -> Tensor:
    alpha = min(1.0, 2.0 * epsilon, 2.5 * epsilon / steps)
    attack = Attack(kind="pgd", norm=norm, epsilon=epsilon, alpha=alpha, steps=steps)
    result = evaluate(net, images, attack)
    assert result.attacked is not None, "an attack was asked for"
    return result.attacked


def _share(right: Tensor) -> float:
    return right.double().mean().item()
