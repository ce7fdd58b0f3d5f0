"""Catastrophic overfitting of one-step adversarial training: what shows it, and the decision.

A network trained against one-step attacks can learn, within an epoch, to fool its own attack:
FGSM accuracy soars while PGD accuracy collapses (Wong et al. 2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from search_spaces.spec import Attack, Containment
from trainables.datasets import Images
from trainables.evaluation import judge


@dataclass(frozen=True)
class Signals:
    """Accuracy in [0, 1] on the held-out probe under the training's own attack and under PGD."""

    fgsm: float
    pgd: float


def probe(
    model: nn.Module, images: Images, attack: Attack, containment: Containment, seed: int
) -> Signals:
    """The signals on the first `probe_images` of `images`, in eval mode.

    PGD covers the ball in `probe_steps` steps of 2.5 epsilon / steps (Madry et al. 2018).
    """
    part = images[: containment.probe_images]
    steps = containment.probe_steps
    alpha = min(1.0, 2.5 * attack.epsilon / steps)
    pgd = Attack(kind="pgd", epsilon=attack.epsilon, alpha=alpha, steps=steps)
    fgsm = Attack(kind="fgsm", epsilon=attack.epsilon, alpha=attack.alpha)
    return Signals(fgsm=_under(model, part, fgsm, seed), pgd=_under(model, part, pgd, seed))


def _under(model: nn.Module, images: Images, attack: Attack, seed: int) -> float:
    accuracy = judge(model, images, attack, seed=seed).scores.ra
    assert accuracy is not None, "an attack was asked for"
    return accuracy


def hit(history: Sequence[Signals], containment: Containment) -> bool:
    """Does the last epoch look collapsed: PGD fallen from its best so far, FGSM far above it?"""
    last = history[-1]
    best = max(signals.pgd for signals in history)
    return best - last.pgd > containment.fall and last.fgsm - last.pgd > containment.gap


def collapsed(history: Sequence[Signals], containment: Containment) -> bool:
    """Have the last `patience` epochs all looked collapsed? One bad epoch may pass by itself."""
    ends = range(len(history) - containment.patience + 1, len(history) + 1)
    return ends[0] > 0 and all(hit(history[:end], containment) for end in ends)


def must_stop(history: Sequence[Signals | None], containment: Containment | None) -> bool:
    """Should a training with this history end now? Never where it is not watched, or told to go
    on (`on_collapse: continue`)."""
    if containment is None or containment.on_collapse != "stop":
        return False
    return collapsed([signals for signals in history if signals], containment)
