"""Catastrophic overfitting of one-step adversarial training: what shows it, and the decision.

A network trained against one-step attacks can learn, within an epoch, to fool its own attack:
FGSM accuracy soars while PGD accuracy collapses (Wong et al. 2020), and the loss bends so much
that its gradient at an image says nothing about the gradient nearby (Andriushchenko and Flammarion
2020).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from search_spaces.regimes import Attack, Containment
from trainables.data.images import ImageSet
from trainables.runtime.seeding import generator
from trainables.training.attacks import gradient, uniform
from trainables.training.evaluation import BATCH, evaluate, evaluating


@dataclass(frozen=True)
class Signals:
    """What a probe of held-out images shows after an epoch.

    fgsm, pgd: accuracy in [0, 1] under the training's own step and under PGD; cosine: mean cosine,
    in [-1, 1], between the loss's input gradients at an image and at a random neighbour.
    """

    fgsm: float
    pgd: float
    cosine: float


def probe(
    model: nn.Module, images: ImageSet, attack: Attack, containment: Containment, seed: int
) -> Signals:
    """The signals on the first `probe_images` of `images`, in eval mode; `seed` fixes all draws.

    PGD covers the ball in `probe_steps` steps of 2.5 epsilon / steps (Madry et al. 2018).
    """
    part = images[: containment.probe_images]
    steps = containment.probe_steps
    alpha = min(1.0, 2.5 * attack.epsilon / steps)
    same = {"epsilon": attack.epsilon, "norm": attack.norm}
    pgd = Attack(kind="pgd", alpha=alpha, steps=steps, **same)
    fgsm = Attack(kind="fgsm", alpha=attack.alpha, **same)
    return Signals(
        fgsm=_under(model, part, fgsm, seed),
        pgd=_under(model, part, pgd, seed),
        cosine=gradient_cosine(model, part, attack.epsilon, seed),
    )


def gradient_cosine(model: nn.Module, images: ImageSet, epsilon: float, seed: int) -> float:
    """Mean over images of cos(g(x), g(x + eta)), g the loss's input gradient, eta uniform in the
    epsilon-ball (Andriushchenko and Flammarion 2020, equation 5). An image whose gradient vanishes
    or is not finite counts as 0."""
    cosines = []
    with evaluating(model):
        parts = torch.arange(len(images), device=images.y.device).split(BATCH)
        for number, batch in enumerate(images.stream(parts, seed=None)):
            x = batch.pixels()
            rng = generator(seed, "cosine", number, device=x.device)
            here, _ = gradient(model, x, batch.y)
            there, _ = gradient(model, x + uniform(x, epsilon, rng), batch.y)
            # In double: the squares of a sure network's slopes, 1e-23 and less, are 0 in float32.
            here, there = (slope.flatten(1).double() for slope in (here, there))
            cosines.append(F.cosine_similarity(here, there, eps=1e-200))
    return torch.cat(cosines).nan_to_num(0.0).mean().item()


def hit(history: Sequence[Signals], containment: Containment, images: int) -> bool:
    """Does the last epoch look collapsed, on a probe of the first `probe_images` of `images`?

    PGD accuracy has fallen from its best by more than the share `fall` of it, and overfitting did
    it: FGSM accuracy is above it by more than the share `gap` of that best, or the cosine has
    fallen below `bend` times its best. (Gap and bend alone also occur while PGD accuracy rises.)
    Neither fall nor gap counts that could be the probe's noise.
    """
    last = history[-1]
    best = max(s.pgd for s in history)
    unsure = noise(best, min(images, containment.probe_images))
    fell = best - last.pgd > max(containment.fall * best, unsure)
    gapes = last.fgsm - last.pgd > max(containment.gap * best, unsure)
    bends = last.cosine < containment.bend * max(s.cosine for s in history)
    return fell and (gapes or bends)


def noise(accuracy: float, images: int) -> float:
    """Three standard errors of an accuracy on so many images: less is no difference. An accuracy of
    less than 9 / (images + 9), 3.4 % of 256, cannot fall by more."""
    return 3 * math.sqrt(accuracy * (1 - accuracy) / images)


def collapsed(history: Sequence[Signals], containment: Containment | None, images: int) -> bool:
    """Have the last `patience` epochs all looked collapsed? One bad epoch may pass by itself.
    Never, where a training is not watched. images: how many are held out to watch it by."""
    if containment is None:
        return False
    ends = range(len(history) - containment.patience + 1, len(history) + 1)
    return ends[0] > 0 and all(hit(history[:end], containment, images) for end in ends)


def _under(model: nn.Module, images: ImageSet, attack: Attack, seed: int) -> float:
    accuracy = evaluate(model, images, attack, seed=seed).scores.ra
    assert accuracy is not None, "an attack was asked for"
    return accuracy
