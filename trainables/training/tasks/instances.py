"""Instance segmentation: objects with masks, scored by mask AP.

Its attack climbs the sum of the detector's losses, as the training descends it. y: see
data.instances.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.networks import Model
from search_spaces.regimes import Attack, Loss, Protocol
from search_spaces.spec import Scores
from trainables.data.images import Images, ImageSet
from trainables.data.instances import VOID, boxes, objects
from trainables.models.detector import Detector, Found, Target, detector
from trainables.runtime.seeding import derived, drawing
from trainables.training.attacks import perturb
from trainables.training.evaluation import evaluating
from trainables.training.tasks.average_precision import Compared, average_precision, overlaps

BATCH = 16
"""Images evaluated at once, where an evaluation does not say."""


@dataclass(frozen=True)
class MaskResults:
    """Mask AP, clean and under attack (None without one)."""

    clean: float
    attacked: float | None

    @property
    def scores(self) -> Scores:
        return Scores(sa=self.clean, ra=self.attacked)

    @property
    def records(self) -> dict[str, Tensor]:
        return {}


def targets(y: Tensor) -> list[Target]:
    """What a detector is to find in each of N images, of y (N, 2, H, W)."""
    found = [objects(each) for each in y]
    return [
        {"boxes": boxes(masks), "labels": classes, "masks": masks.to(torch.uint8)}
        for masks, classes in found
    ]


class _Losses(nn.Module):
    """Images to a detector's summed losses, as a network that an attack can climb."""

    def __init__(self, net: nn.Module, y: Tensor) -> None:
        super().__init__()
        self.net, self.targets = net, targets(y)
        self.training = net.training

    def forward(self, x: Tensor) -> Tensor:
        loss: Tensor = self.net(x, self.targets)
        return loss


def attacked(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    rng: torch.Generator,
    alpha: Tensor | None = None,
) -> Tensor:
    """Images (N, 3, H, W) under an attack on the summed losses, in [0, 1]."""
    return perturb(_Losses(net, y), x, y, attack, rng, alpha, climbed=lambda loss: loss)


def shown(
    net: nn.Module, batch: Images, attack: Attack | None, seed: int
) -> tuple[Tensor, list[Found]]:
    """(images as the network sees them, clean or attacked, what it finds in them). `seed`: of the
    attack's start, and of the proposals that its losses look at."""
    x, device = batch.pixels(), batch.y.device
    with evaluating(net):
        if attack is not None:
            rng = torch.Generator(device).manual_seed(derived(seed, "start"))
            with drawing(seed, "proposals", device=device):
                x = attacked(net, x, batch.y, attack, rng)
        with torch.no_grad():
            return x, net(x)


def evaluate(
    model: nn.Module, images: ImageSet, attack: Attack | None, batch_size: int | None = None
) -> MaskResults:
    """Mask AP in eval mode. Under attack it is that of each restart on all images, the lowest:
    AP is no mean over images, of which each could take its own worst."""

    def judged(how: Attack | None, restart: int) -> float:
        parts = torch.arange(len(images), device=images.y.device).split(batch_size or BATCH)
        compared: list[Compared] = []
        for number, batch in enumerate(images.stream(parts, seed=None)):
            found = shown(model, batch, how, derived(0, "evaluation", number, restart))[1]
            compared += map(_compared, found, batch.y)
        return average_precision(compared)

    clean = judged(None, 0)
    if attack is None:
        return MaskResults(clean, None)
    return MaskResults(clean, min(judged(attack, k) for k in range(attack.restarts)))


def _compared(found: Found, y: Tensor) -> Compared:
    masks, classes = objects(y)
    seen = found.masks & (y[0] != VOID)
    parts = (found.scores, found.classes, classes, overlaps(seen, masks))
    return Compared(*(part.cpu().numpy() for part in parts))


class Instances:
    """See task.Task; y: (N, 2, H, W) int16."""

    captured = False

    def network(
        self,
        model: Model,
        classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        size: int,
    ) -> Detector:
        return detector(model, classes, mean, std, seed)

    def loss(
        self, model: nn.Module, x: Tensor, attacked: Tensor, y: Tensor, loss: Loss
    ) -> tuple[Tensor, Tensor]:
        """The sum of the losses; of a detector no image is right or wrong: their number is 0."""
        value: Tensor = model(attacked, targets(y))
        return value, torch.zeros((), device=x.device)

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
        return attacked(net, x, y, attack, rng, alpha)

    def evaluate(
        self,
        model: nn.Module,
        images: ImageSet,
        attack: Attack | None,
        protocol: Protocol = "plain",
        *,
        batch_size: int | None = None,
    ) -> MaskResults:
        return evaluate(model, images, attack, batch_size)

    def chance(self, images: ImageSet) -> float:
        return 0.0

    def made_up(self, net: nn.Module, x: Tensor) -> Images:
        """With four squares of the first class in each."""
        n, _, height, width = x.shape
        y = torch.zeros(n, 2, height, width, dtype=torch.int16, device=x.device)
        for number, (row, column) in enumerate(((1, 1), (1, 5), (5, 1), (5, 5)), 1):
            top, left = row * height // 8, column * width // 8
            y[:, 0, top : top + height // 4, left : left + width // 4] = number
        y[:, 1] = (y[:, 0] > 0).to(torch.int16)
        return Images(x, y)


INSTANCES = Instances()
