"""Accuracy on clean and on attacked images, image by image."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from search_spaces.regimes import Attack, Evaluation, Protocol
from search_spaces.spec import Scores
from trainables.data.images import ImageSet
from trainables.models.resnets import folded
from trainables.runtime import memory
from trainables.runtime.seeding import generator
from trainables.training.accuracy import correct
from trainables.training.attacks import perturb, withstood

BATCH = 256
"""Images evaluated at once, where an evaluation does not say."""

Shown = tuple[int, Tensor, Tensor]
"""A batch's number, images of it in [0, 1] (N, C, H, W), and their labels (N,)."""


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
    batch_size: int | None = None,
) -> Judgement:
    """Judges each image in eval mode; `seed` fixes the attack's random starts.

    An image counts as correct under attack if it is correct when clean and under every restart of
    the attack, by its last iterate or (protocol worst_iterate, for pgd) by all of them.
    batch_size: see Evaluation. Raises OutOfMemoryError where that is too many.
    """
    clean: list[Tensor] = []
    size = batch_size or BATCH
    with evaluating(model), memory.naming(size, "evaluating", "the evaluation's batch_size"):
        # In eval mode BatchNorm is no more than a part of its convolution.
        model = folded(model)
        batches = torch.arange(len(images), device=images.y.device).split(size)
        shown = _right_when_clean(model, images, batches, clean)
        if attack is None:
            deque(shown, maxlen=0)
            return Judgement(torch.cat(clean).cpu(), None)
        left: Tensor | None = None
        for restart in range(attack.restarts):
            if left is not None:
                if not len(left):
                    break
                shown = _again(images, left, size)
            draws = partial(_draws, seed, restart, batches[0].device)
            stood = _stand(model, shown, attack, protocol, draws, size)
            left = (torch.cat(clean).nonzero().flatten() if left is None else left)[stood]
        assert left is not None, "an attack has one restart at least"
    right = torch.cat(clean)
    return Judgement(right.cpu(), torch.zeros_like(right).index_fill_(0, left, True).cpu())


def judge_test(model: nn.Module, images: ImageSet, evaluation: Evaluation) -> Judgement:
    """Judges test images as the evaluation says."""
    size = evaluation.batch_size
    return judge(model, images, evaluation.attack, evaluation.protocol, batch_size=size)


def first_images(images: ImageSet, count: int | None) -> tuple[Tensor, Tensor]:
    """The first `count` images (None: all) as pixels in [0, 1], and their labels."""
    part = images[slice(0, count)]
    batches = list(part.stream(torch.arange(len(part)).split(BATCH), None))
    return torch.cat([batch.pixels() for batch in batches]), torch.cat([b.y for b in batches])


def _draws(seed: int, restart: int, device: torch.device, number: int) -> torch.Generator:
    """What a batch's random starts are drawn from."""
    return generator(seed, "evaluation", number, restart, device=device)


def _right_when_clean(
    model: nn.Module, images: ImageSet, batches: Sequence[Tensor], clean: list[Tensor]
) -> Iterator[Shown]:
    """The images that are worth attacking; which they are is put into `clean`, batch by batch."""
    for number, batch in enumerate(images.stream(batches, seed=None)):
        x, y = batch.pixels(), batch.y
        right = _right(model, x, y)
        clean.append(right)
        yield number, x[right], y[right]


def _again(images: ImageSet, left: Tensor, size: int) -> Iterator[Shown]:
    """The images that are left, as they came before."""
    numbers, counts = torch.unique_consecutive(left // size, return_counts=True)
    parts = images.stream(left.split(counts.tolist()), seed=None)
    for number, batch in zip(numbers.tolist(), parts, strict=True):
        yield number, batch.pixels(), batch.y


def _stand(
    model: nn.Module,
    shown: Iterable[Shown],
    attack: Attack,
    protocol: Protocol,
    draws: Callable[[int], torch.Generator],
    size: int,
) -> Tensor:
    """Which images, by their places in the order shown, are still right under one attack."""
    if protocol == "worst_iterate" and attack.kind == "pgd":
        batches = ((x, y, draws(number)) for number, x, y in shown)
        return withstood(model, batches, attack, size)
    right = [
        _right(model, perturb(model, x, y, attack, draws(number)), y) if len(y) else y.bool()
        for number, x, y in shown
    ]
    return torch.cat(right).nonzero().flatten()


def _mean(right: Tensor | None) -> float | None:
    return None if right is None else right.double().mean().item()


def _right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(N,) bool: is each image classified correctly?"""
    with torch.no_grad():
        return correct(model(x), y)
