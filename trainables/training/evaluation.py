"""Accuracy on clean and on attacked images, image by image."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.regimes import Attack, Evaluation, Protocol
from search_spaces.spec import Scores
from trainables.data.images import Images, ImageSet
from trainables.models.folding import folded
from trainables.runtime import memory
from trainables.runtime.capture import EAGER
from trainables.runtime.seeding import derived
from trainables.training.answers import answers_of

BATCH = 256
"""Images evaluated at once on a CPU, where an evaluation does not say."""
# On a GPU.
_LEAST, _MOST, _PIXELS = 128, 1024, 2**20


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
class ImageResults:
    """Which images are classified correctly, clean and under attack: (N,) bool tensors on the CPU.

    `attacked` is None where no attack was asked for. execution: how, see runtime.capture.
    """

    clean: Tensor
    attacked: Tensor | None
    execution: str = EAGER

    @property
    def scores(self) -> Scores:
        return Scores(sa=_mean(self.clean), ra=_mean(self.attacked))

    @property
    def records(self) -> dict[str, Tensor]:
        """What is known of each image, by name."""
        both = {"clean": self.clean, "attacked": self.attacked}
        return {name: right for name, right in both.items() if right is not None}


def evaluate(
    model: nn.Module,
    images: ImageSet,
    attack: Attack | None,
    protocol: Protocol = "plain",
    seed: int = 0,
    batch_size: int | None = None,
) -> ImageResults:
    """Evaluates each image in eval mode; `seed` fixes the attack's random starts.

    An image counts as correct under attack if it is correct when clean and under every restart of
    the attack, by its last iterate or (protocol worst_iterate, for pgd) by all of them.
    batch_size: see Evaluation. Raises OutOfMemoryError where that is too many.
    """
    size, device = batch_size or at_once(images), images.y.device
    with evaluating(model), memory.naming(size, "evaluating", "the evaluation's batch_size"):
        # In eval mode BatchNorm is no more than a part of its convolution.
        answers = answers_of(folded(model), min(size, len(images)), device)
        everything = torch.arange(len(images), device=device)
        clean = answers.clean(images.stream(everything.split(size), seed=None))
        if attack is None:
            return ImageResults(clean.cpu(), None, answers.execution)
        left = clean.nonzero().flatten()
        for restart in range(attack.restarts):
            if not len(left):
                break
            numbers, parts = answers.batches(left)
            seeds = [derived(seed, "evaluation", number, restart) for number in numbers]
            shown = zip(images.stream(parts, seed=None), seeds, strict=True)
            left = left[answers.attacked(shown, attack, protocol)]
    attacked = torch.zeros_like(clean).index_fill_(0, left, True)
    return ImageResults(clean.cpu(), attacked.cpu(), answers.execution)


def at_once(images: ImageSet) -> int:
    """Images evaluated at once, where an evaluation does not say: BATCH on a CPU; on a GPU, where
    more are faster, a million pixels of them in batches of one size."""
    if images.y.device.type == "cpu" or not len(images):
        return BATCH
    most = _LEAST
    if isinstance(images, Images):
        side = images.crop or images.x.shape[-1]
        most = max(_LEAST, min(_MOST, _PIXELS // side**2))
    return math.ceil(len(images) / math.ceil(len(images) / most))


def evaluate_test(model: nn.Module, images: ImageSet, evaluation: Evaluation) -> ImageResults:
    """Judges test images as the evaluation says."""
    size = evaluation.batch_size
    return evaluate(model, images, evaluation.attack, evaluation.protocol, batch_size=size)


def first_images(images: ImageSet, count: int | None) -> tuple[Tensor, Tensor]:
    """The first `count` images (None: all) as pixels in [0, 1], and their labels."""
    part = images[slice(0, count)]
    batches = list(part.stream(torch.arange(len(part)).split(BATCH), None))
    return torch.cat([batch.pixels() for batch in batches]), torch.cat([b.y for b in batches])


def _mean(right: Tensor | None) -> float | None:
    return None if right is None else right.double().mean().item()
