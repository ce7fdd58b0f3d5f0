"""What the training loop and the jobs ask of a task."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from search_spaces.networks import Model
from search_spaces.regimes import Attack, Loss
from search_spaces.regimes import evaluation as judging
from search_spaces.spec import Scores
from trainables.data.images import Images, ImageSet


class Results(Protocol):
    """What an evaluation found."""

    @property
    def scores(self) -> Scores: ...

    @property
    def records(self) -> Mapping[str, Tensor]:
        """Which images are right, (N,) bool, by `clean` and `attacked`; empty of a task whose score
        is no mean over images."""


class Task(Protocol):
    """Classification, or another: images x (N, C, H, W) in [0, 1] and what is wanted of them y, N
    in its first dimension."""

    captured: bool
    """May a step be recorded and replayed? Not where it waits for the device."""

    def network(
        self,
        model: Model,
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        size: int,
    ) -> nn.Module:
        """A network for the task, as models.networks.build makes a classifier."""

    def loss(
        self, model: nn.Module, x: Tensor, attacked: Tensor, y: Tensor, loss: Loss
    ) -> tuple[Tensor, Tensor]:
        """(mean loss over a batch, how many of its images are right as trained on), without
        dimensions."""

    def attacked(
        self,
        net: nn.Module,
        x: Tensor,
        y: Tensor,
        attack: Attack,
        loss: Loss,
        rng: torch.Generator,
        alpha: Tensor | None = None,
    ) -> Tensor:
        """Images under a training's attack, in [0, 1]; see attacks.perturb."""

    def evaluate(
        self,
        model: nn.Module,
        images: ImageSet,
        attack: Attack | None,
        protocol: judging.Protocol = "plain",
        *,
        batch_size: int | None = None,
    ) -> Results:
        """Judges images in eval mode, clean and under an attack, if any."""

    def chance(self, images: ImageSet) -> float:
        """The score of a network that has learnt nothing."""

    def made_up(self, net: nn.Module, x: Tensor) -> Images:
        """Images x (N, C, H, W) uint8 with something wanted of each, to time steps on."""
