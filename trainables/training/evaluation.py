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
from trainables.runtime import out_of_memory
from trainables.runtime.seeding import generator
from trainables.training.attacks import perturb, withstood

BATCH = 256

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
) -> Judgement:
    """Judges each image in eval mode; `seed` fixes the attack's random starts.

    An image counts as correct under attack if it is correct when clean and under every restart of
    the attack, by its last iterate or (protocol worst_iterate, for pgd) by all of them. Batches
    that do not fit into memory are judged in parts: no image's answer depends on another's.
    """
    clean: list[Tensor] = []
    with evaluating(model):
        # In eval mode BatchNorm is no more than a part of its convolution.
        model = folded(model)
        batches = torch.arange(len(images), device=images.y.device).split(BATCH)
        shown = _right_when_clean(model, images, batches, clean)
        if attack is None:
            deque(shown, maxlen=0)
            return Judgement(torch.cat(clean).cpu(), None)
        left: Tensor | None = None
        for restart in range(attack.restarts):
            if left is not None:
                if not len(left):
                    break
                shown = _again(images, left)
            draws = partial(_draws, seed, restart, batches[0].device)
            stood = _stand(model, shown, attack, protocol, draws)
            left = (torch.cat(clean).nonzero().flatten() if left is None else left)[stood]
        assert left is not None, "an attack has one restart at least"
    right = torch.cat(clean)
    return Judgement(right.cpu(), torch.zeros_like(right).index_fill_(0, left, True).cpu())


def judge_test(model: nn.Module, images: ImageSet, evaluation: Evaluation) -> Judgement:
    """Judges test images as the evaluation says."""
    return judge(model, images, evaluation.attack, evaluation.protocol)


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
    parts = 1
    for number, batch in enumerate(images.stream(batches, seed=None)):
        x, y = batch.pixels(), batch.y
        right, parts = out_of_memory.in_parts(partial(_right, model, x, y), len(y), parts)
        clean.append(right)
        yield number, x[right], y[right]


def _again(images: ImageSet, left: Tensor) -> Iterator[Shown]:
    """The images that are left, as they came before."""
    numbers, counts = torch.unique_consecutive(left // BATCH, return_counts=True)
    parts = images.stream(left.split(counts.tolist()), seed=None)
    for number, batch in zip(numbers.tolist(), parts, strict=True):
        yield number, batch.pixels(), batch.y


def _stand(
    model: nn.Module,
    shown: Iterable[Shown],
    attack: Attack,
    protocol: Protocol,
    draws: Callable[[int], torch.Generator],
) -> Tensor:
    """Which images, by their places in the order shown, are still right under one attack."""
    if protocol == "worst_iterate" and attack.kind == "pgd":
        batches = ((x, y, draws(number)) for number, x, y in shown)
        return withstood(model, batches, attack, BATCH)
    found, parts = [], 1
    for number, x, y in shown:
        work = partial(_last, model, x, y, attack, partial(draws, number))
        right, parts = out_of_memory.in_parts(work, len(y), parts)
        found.append(right)
    return torch.cat(found).nonzero().flatten()


def _last(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    draws: Callable[[], torch.Generator],
    parts: int,
) -> Tensor:
    """(N,) bool: is each image, once attacked, still classified correctly?"""
    rng = draws()
    found = [
        _right(model, perturb(model, images, labels, attack, rng), labels)
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
