"""Accuracy on clean and on attacked images, image by image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from search_spaces.regimes import Attack, Evaluation, Protocol
from search_spaces.spec import Scores
from trainables import out_of_memory
from trainables.attacks import perturb, withstands
from trainables.images import ImageSet
from trainables.models import folded
from trainables.seeding import generator

BATCH = 256


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside (BatchNorm by its running statistics); the former mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@dataclass(frozen=True)
class Judgement:
    """Which images are classified correctly, clean and under attack: (N,) bool tensors on the CPU.

    `attacked` is None where no attack was asked for.
    """

    clean: Tensor
    attacked: Tensor | None

    @property
    def scores(self) -> Scores:
        return Scores(sa=_mean(self.clean), ra=_mean(self.attacked))


def judge(
    model: nn.Module,
    images: ImageSet,
    attack: Attack | None,
    protocol: Protocol = "plain",
    seed: int = 0,
) -> Judgement:
    """Judges each image in eval mode; `seed` fixes the attack's random starts.

    An image counts as correct under attack if it is correct when clean and under every restart of
    the attack, by its last iterate or (protocol worst_iterate, for pgd) by all of them. Batches
    that do not fit into memory are judged in parts: no image's answer depends on another's.
    """
    clean, attacked = [], []
    parts = 1
    with evaluating(model):
        # In eval mode BatchNorm is no more than a part of its convolution.
        model = folded(model)
        batches = torch.arange(len(images), device=images.y.device).split(BATCH)
        for number, batch in enumerate(images.stream(batches, seed=None)):
            x, y = batch.pixels(), batch.y
            right, parts = out_of_memory.in_parts(partial(_right, model, x, y), len(y), parts)
            clean.append(right)
            if attack is None:
                continue
            left = right.nonzero().flatten()
            for restart in range(attack.restarts):
                draws = partial(generator, seed, "evaluation", number, restart, device=x.device)
                # Images that are wrong already are not worth attacking.
                stands = partial(_stands, model, x[left], y[left], attack, protocol, draws)
                still, parts = out_of_memory.in_parts(stands, len(left), parts)
                left = left[still]
            attacked.append(torch.zeros_like(right).index_fill_(0, left, True))
    return Judgement(torch.cat(clean).cpu(), torch.cat(attacked).cpu() if attacked else None)


def judge_test(model: nn.Module, images: ImageSet, evaluation: Evaluation) -> Judgement:
    """Judges test images as the evaluation says."""
    return judge(model, images, evaluation.attack, evaluation.protocol)


def first_images(images: ImageSet, count: int | None) -> tuple[Tensor, Tensor]:
    """The first `count` images (None: all) as pixels in [0, 1], and their labels."""
    part = images[slice(0, count)]
    batches = list(part.stream(torch.arange(len(part)).split(BATCH), None))
    return torch.cat([batch.pixels() for batch in batches]), torch.cat([b.y for b in batches])


def _stands(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    protocol: Protocol,
    draws: Callable[[], torch.Generator],
    parts: int,
) -> Tensor:
    """(N,) bool: is each image still classified correctly under the attack?"""
    rng = draws()
    worst = protocol == "worst_iterate" and attack.kind == "pgd"
    found = [
        withstands(model, images, labels, attack, rng)
        if worst
        else _right(model, perturb(model, images, labels, attack, rng), labels)
        for images, labels in zip(x.chunk(parts), y.chunk(parts), strict=True)
        if len(labels)
    ]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool, device=y.device)


def _mean(right: Tensor | None) -> float | None:
    return None if right is None else right.double().mean().item()


def _right(model: nn.Module, x: Tensor, y: Tensor, parts: int = 1) -> Tensor:
    with torch.no_grad():
        found = [model(images).argmax(1) for images in x.chunk(parts)]
    return torch.cat(found) == y
