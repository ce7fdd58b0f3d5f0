"""Which images does a network classify correctly, clean or attacked? Asked of the network itself,
or of one in place, over which the answers are recorded once and replayed."""

import typing
from collections.abc import Callable, Hashable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from search_spaces.regimes import Attack, Protocol
from trainables.data.images import Images
from trainables.runtime.capture import EAGER, capture, in_place
from trainables.training.accuracy import correct
from trainables.training.attacks import perturb, survivors, withstands
from trainables.training.workspace import Workspace, workspace_for

Shown = Iterable[tuple[Images, int]]
"""Batches, and the seeds that the random starts of attacks on them are drawn from."""


class Answers(typing.Protocol):
    """The answers of one network in eval mode, where they don't depend on other images. execution:
    how the latest came about."""

    execution: str

    def clean(self, batches: Iterable[Images]) -> Tensor:
        """(N,) bool: is each image classified correctly?"""

    def attacked(self, shown: Shown, attack: Attack, counting: Protocol) -> Tensor:
        """(K,) int64: the places, in the order shown, of images that withstand an attack."""

    def batches(self, left: Tensor) -> tuple[list[int], tuple[Tensor, ...]]:
        """The batches in which images, by their ascending numbers, are attacked: what their draws
        are numbered by, and their images."""


def answers_of(net: nn.Module, size: int, device: torch.device) -> Answers:
    """The answers of a network on a device, in eval mode, on up to `size` images at once."""
    if in_place(device):
        place = workspace_for(net, device, EvaluationPlace, capture())
        if place is not None:
            return AnswersInPlace(net, size, place)
    return OwnAnswers(net, size)


class OwnAnswers:
    """A network's own answers."""

    def __init__(self, net: nn.Module, size: int) -> None:
        self.execution = EAGER
        self._net, self._size = net, size

    def clean(self, batches: Iterable[Images]) -> Tensor:
        return torch.cat([_right(self._net, batch.pixels(), batch.y) for batch in batches])

    def attacked(self, shown: Shown, attack: Attack, counting: Protocol) -> Tensor:
        drawn = ((b.pixels(), b.y, torch.Generator(b.y.device).manual_seed(s)) for b, s in shown)
        if _by_every_iterate(attack, counting):
            return survivors(self._net, drawn, attack, self._size)
        right = [_right_at_the_end(attack, self._net, x, y, rng) for x, y, rng in drawn]
        return torch.cat(right).nonzero().flatten()

    def batches(self, left: Tensor) -> tuple[list[int], tuple[Tensor, ...]]:
        """As the images came when they were clean."""
        numbers, counts = torch.unique_consecutive(left // self._size, return_counts=True)
        return numbers.tolist(), left.split(counts.tolist())


class EvaluationPlace(Workspace):
    """Where networks of one structure are asked in place."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        super().__init__(net, device)
        self.net.eval()
        self.right: dict[int, Tensor] = {}

    def step(
        self, answer: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor], size: int
    ) -> Callable[[Tensor, Tensor], None]:
        """Puts the answers on `size` images into `right`; to be recorded."""
        right = torch.zeros(size, dtype=torch.bool, device=self.device)
        right = self.right.setdefault(size, right)

        def step(x: Tensor, y: Tensor) -> None:
            right.copy_(answer(self.net, x, y, self.rng))

        return step


class AnswersInPlace:
    """Answers of a network whose weights are copied into a place. Batches always are of one size,
    which is what is recorded: what is left in the rest of a smaller one counts for nothing."""

    def __init__(self, net: nn.Module, size: int, place: EvaluationPlace) -> None:
        self.execution = EAGER
        self._net, self._size, self._place = net, size, place

    def clean(self, batches: Iterable[Images]) -> Tensor:
        def answer(net: nn.Module, x: Tensor, y: Tensor, _: torch.Generator) -> Tensor:
            return _right(net, x, y)

        return self._all(((batch, 0) for batch in batches), "clean", answer)

    def attacked(self, shown: Shown, attack: Attack, counting: Protocol) -> Tensor:
        answer = _right_all_along if _by_every_iterate(attack, counting) else _right_at_the_end
        return self._all(shown, (attack, counting), partial(answer, attack)).nonzero().flatten()

    def batches(self, left: Tensor) -> tuple[list[int], tuple[Tensor, ...]]:
        """As few as can be."""
        parts = left.split(self._size)
        return list(range(len(parts))), parts

    def _all(
        self,
        shown: Shown,
        question: Hashable,
        answer: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor],
    ) -> Tensor:
        place, size, answers = self._place, self._size, []
        with place.lock:
            place.load(self._net)
            for batch, seed in shown:
                x = batch.pixels()
                whole = x.new_empty((size, *x.shape[1:])).to(memory_format=torch.channels_last)
                recording = place.recording(question, whole, lambda: place.step(answer, size))
                recording.x[: len(x)].copy_(x)
                recording.y[: len(x)].copy_(batch.y)
                place.rng.manual_seed(seed)
                recording.replay()
                self.execution = recording.execution
                answers.append(place.right[size][: len(x)].clone())
        return torch.cat(answers)


def _by_every_iterate(attack: Attack, counting: Protocol) -> bool:
    return counting == "worst_iterate" and attack.kind == "pgd"


def _right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return correct(net(x), y)


def _right_at_the_end(
    attack: Attack, net: nn.Module, x: Tensor, y: Tensor, rng: torch.Generator
) -> Tensor:
    return _right(net, perturb(net, x, y, attack, rng), y)


def _right_all_along(
    attack: Attack, net: nn.Module, x: Tensor, y: Tensor, rng: torch.Generator
) -> Tensor:
    return withstands(net, x, y, attack, rng)
