"""Classification: one class an image, scored by the share of images that are right."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces.networks import Model
from search_spaces.regimes import Attack, Loss, Protocol
from trainables.data.images import Images, ImageSet
from trainables.models import networks
from trainables.training.accuracy import commonest, correct
from trainables.training.attacks import perturb
from trainables.training.evaluation import ImageResults, evaluate, evaluating
from trainables.training.objectives import batch_loss, climbed


class Classification:
    """See task.Task; y: (N,) int64."""

    captured = True

    def network(
        self,
        model: Model,
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        size: int,
    ) -> nn.Module:
        return networks.build(model, classes, mean, std, seed, size)

    def loss(
        self, model: nn.Module, x: Tensor, attacked: Tensor, y: Tensor, loss: Loss
    ) -> tuple[Tensor, Tensor]:
        value, logits = batch_loss(model, x, attacked, y, loss)
        return value, correct(logits, y).sum()

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
        return perturb(net, x, y, attack, rng, alpha, climbed(net, x, loss))

    def evaluate(
        self,
        model: nn.Module,
        images: ImageSet,
        attack: Attack | None,
        protocol: Protocol = "plain",
        *,
        batch_size: int | None = None,
    ) -> ImageResults:
        return evaluate(model, images, attack, protocol, batch_size=batch_size)

    def chance(self, images: ImageSet) -> float:
        return commonest(images.y)

    def made_up(self, net: nn.Module, x: Tensor) -> Images:
        """With the labels that the network gives: all of them are attacked."""
        images = Images(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
        with evaluating(net), torch.no_grad():
            return Images(x, net(images.pixels()).argmax(1))


CLASSIFICATION = Classification()
