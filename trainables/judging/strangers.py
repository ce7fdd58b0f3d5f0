"""A stranger's network: published weights, judged on a data set's test images as a transfer is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.checks import Check
from search_spaces.networks import Checkpoint, Model, Normalisation
from search_spaces.regimes import Evaluation
from search_spaces.spec import Dataset
from trainables.checkpoints import formats
from trainables.data import datasets
from trainables.data.images import Images, ImageSet, Splits
from trainables.judging import checks
from trainables.models import networks
from trainables.models.normalisation import statistics
from trainables.training.accuracy import commonest, interval
from trainables.training.evaluation import at_once, evaluate

Watch = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""What is measured and how many images that looks at -> a context whose value is told of each batch
how many it has looked at."""


@dataclass(frozen=True)
class Stranger:
    """A network with its weights, in eval mode, and the data that it is judged on."""

    net: nn.Module
    data: Splits

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """(mean, std) of pixels in [0, 1], a number for each channel."""
        return statistics(self.net)

    @property
    def chance(self) -> float:
        """What is right of a network that has learnt nothing, in (0, 1]."""
        return commonest(self.data.test.y)

    def on(self, images: int | None) -> "Stranger":
        """The same, to be judged on the first so many test images; None: on all."""
        return replace(self, data=replace(self.data, test=self.data.test[slice(0, images)]))


@dataclass(frozen=True)
class Score:
    """An accuracy in [0, 1], its 95 % interval over test images, and how many these were. record:
    what a check has to say beside it."""

    measure: str
    accuracy: float
    low: float
    high: float
    images: int
    record: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Its fields by name, those that it has."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def stranger(load: Checkpoint, model: Model, dataset: Dataset, device: torch.device) -> Stranger:
    """A published network on a data set. Its pixels are normalised as the model says, else as the
    file does that holds it, else by the data set's mean and std.

    Raises InputError for files that are absent or not what they should be, and for weights that do
    not fit the network.
    """
    data = datasets.splits_on(dataset, device)

    def built(own: Normalisation | None) -> nn.Module:
        mean, std = (own.mean, own.std) if own else (data.mean, data.std)
        return networks.build(model, data.classes, mean, std, seed=0, size=dataset.size)

    net, own = built(model.normalisation), model.normalisation
    networks.checked(net, model, data.classes, len(data.mean), dataset.size)
    loaded = formats.load(load, model, net)
    if own is None and loaded.mean is not None and loaded.std is not None:
        count = len(data.mean) if len(loaded.mean) == 1 else 1
        own = Normalisation(mean=loaded.mean * count, std=loaded.std * count)
        net = built(own)
    net.load_state_dict(loaded.state)
    return Stranger(net.to(device).eval(), data)


def scores(
    judged: Stranger, evaluation: Evaluation, further: Sequence[Check], watch: Watch
) -> Iterator[Score]:
    """The accuracies of a stranger's network on the test images, each as soon as it is known: clean
    and under the evaluation's attack as of a transfer, bit for bit, then by further checks."""
    images, attack = judged.data.test, evaluation.attack
    size = evaluation.batch_size or at_once(images)
    with watch(f"clean, {attack.title}", len(images) * (1 + attack.restarts)) as seen:
        both = evaluate(
            judged.net, _Watched(images, seen), attack, evaluation.protocol, batch_size=size
        )
    assert both.attacked is not None, "an attack was asked for"
    yield _score("clean", both.clean)
    yield _score(attack.title, both.attacked)
    for check in further:
        with watch(check.title, min(len(images), check.images or len(images))) as seen:
            watched = replace(judged.data, test=_Watched(images, seen))
            record, right = checks.run(check, judged.net, watched)
        yield _score(check.title, right, record)


def _score(measure: str, right: Tensor, record: dict[str, Any] | None = None) -> Score:
    shares = right.double().flatten(1).mean(1) if right.dim() > 1 else right
    return Score(measure, right.double().mean().item(), *interval(shares), len(right), record)


@dataclass(frozen=True)
class _Watched:
    """Images that tell, of each batch that has been used, how many it had."""

    images: ImageSet
    seen: Callable[[int], None]

    @property
    def y(self) -> Tensor:
        return self.images.y

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor | slice) -> "_Watched":
        return _Watched(self.images[index], self.seen)

    def to(self, device: torch.device | str) -> "_Watched":
        return _Watched(self.images.to(device), self.seen)

    def stream(self, batches: Sequence[Tensor], seed: int | None) -> Iterator[Images]:
        for batch in self.images.stream(batches, seed):
            yield batch
            self.seen(len(batch))
