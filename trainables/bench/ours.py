"""What the bench measures: networks, steps and judgements, on random images, and how this program
does them. The same work done by others is in bench_peers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from search_spaces.networks import Model
from search_spaces.regimes import Attack, Recipe, Regime
from search_spaces.spec import Augmentation, Dataset
from trainables.data import datasets
from trainables.data.images import Images, Splits
from trainables.models import networks
from trainables.pruning import masks
from trainables.pruning.masks import Mask
from trainables.runtime.seeding import generator
from trainables.training.evaluation import evaluate
from trainables.training.loop import fit

CLASSES = 10
EPSILON = 8 / 255
# A ticket in the middle of the ladder: its mask is applied after every step.
KEPT = 0.33
ENDLESS = 100_000

Operation = Literal["standard", "fast_adversarial", "adversarial", "evaluate", "plain", "worst"]
PGD_20 = Attack(kind="pgd", epsilon=EPSILON, alpha=2 / 255, steps=20)
ATTACKS: dict[Operation, Attack | None] = {
    "standard": None,
    "fast_adversarial": Attack(kind="fgsm", epsilon=EPSILON, alpha=10 / 255),
    "adversarial": Attack(kind="pgd", epsilon=EPSILON, alpha=2 / 255, steps=10),
    "evaluate": PGD_20,
}
"""What images go through in a step of each kind; `evaluate`: they are attacked and counted."""


@dataclass(frozen=True)
class Case:
    """A network and the images that it sees: `raw` pixels wide in memory, `size` in the network.
    batch: images in a step, as trained with; few: as many as a CPU does in seconds."""

    model: Model
    size: int
    raw: int
    channels: int
    batch: int
    few: int
    augment: Augmentation


_CIFAR = Augmentation(crop=4, flip=True)
CASES = {
    "quickstart": Case(Model(arch="resnet8", width=16), 16, 16, 1, 64, 64, Augmentation(crop=1)),
    "resnet20": Case(Model(arch="resnet20"), 32, 32, 3, 128, 64, _CIFAR),
    "resnet18": Case(Model(arch="resnet18", stem="cifar"), 32, 32, 3, 128, 8, _CIFAR),
    # Small images enlarged by random resized crops, as the paper's loaders do.
    "resnet50": Case(Model(arch="resnet50"), 224, 32, 3, 64, 4, Augmentation(flip=True)),
}


@dataclass(frozen=True)
class Work:
    """A piece of work: an operation on `images` images in batches of `batch`."""

    case: str
    operation: Operation
    batch: int
    images: int
    device: str

    @property
    def settings(self) -> Case:
        return CASES[self.case]


def network(work: Work) -> tuple[nn.Module, Mask]:
    """The same network and mask for everyone who does this work, from fixed seeds."""
    case = work.settings
    mean, std = [0.5] * case.channels, [0.25] * case.channels
    net = networks.build(case.model, CLASSES, mean, std, seed=0)
    full = masks.ones(net)
    keep = round(KEPT * masks.counts(full)[1])
    mask = masks.random(full, keep, generator(0, "mask"))
    masks.apply_(net, masks.factors(net, mask))
    return net.to(work.device), mask


def images(work: Work) -> Images:
    """Random images, the same for everyone who does this work."""
    case, rng = work.settings, generator(0, "images")
    shape = (work.images, case.channels, case.raw, case.raw)
    x = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
    y = torch.randint(0, CLASSES, (work.images,), generator=rng)
    return Images(x, y, None if case.raw == case.size else case.size)


def as_predicted(net: nn.Module, there: Images, batch: int) -> Images:
    """The images labelled as `net` sees them: all are right when clean, so all are attacked."""
    net.eval()
    with torch.no_grad():
        parts = torch.arange(len(there)).split(batch)
        seen = [net(b.pixels()).argmax(1) for b in there.stream(parts, None)]
    return replace(there, y=torch.cat(seen))


def regime(work: Work) -> Regime:
    """Training without end; the small rate keeps weights as they are, more or less."""
    recipe = Recipe(epochs=ENDLESS, batch_size=work.batch, lr=1e-4)
    return Regime(recipe=recipe, attack=ATTACKS[work.operation])


def ours(work: Work) -> Callable[[], object]:
    """The work as this program does it; every call does it once."""
    if work.operation in ("plain", "worst"):
        return _at_half(work)
    net, mask = network(work)
    there = images(work).to(work.device)
    if work.operation == "evaluate":
        there = as_predicted(net, there, work.batch)
        return lambda: evaluate(net, there, PGD_20)
    empty = there[:0]
    data = Splits(there, empty, empty, CLASSES, (), ())
    how = regime(work)
    epochs = fit(net, data, how, seed=0, mask=mask, augmentation=work.settings.augment)
    return lambda: next(epochs)


def on_streams(work: Work, copies: int) -> Callable[[], object]:
    """Several such works side by side in this process, each in a thread and a CUDA stream of its
    own; every call does all of them once."""
    streams = [torch.cuda.Stream() for _ in range(copies)]
    works = [ours(work) for _ in streams]
    threads = ThreadPoolExecutor(copies)

    def once(place: int) -> None:
        with torch.cuda.stream(streams[place]):
            works[place]()

    torch.cuda.synchronize()
    # One after another: what is recorded in a first call is recorded undisturbed.
    for place in range(copies):
        once(place)
    return lambda: list(threads.map(once, range(copies)))


def _at_half(work: Work) -> Callable[[], object]:
    """Evaluation a trained network at the epsilon where about half of the images are survivors."""
    net, there, attack = half_robust(work.images, work.device)
    protocol: Literal["plain", "worst_iterate"] = (
        "worst_iterate" if work.operation == "worst" else "plain"
    )
    return lambda: evaluate(net, there, attack, protocol)


@lru_cache(maxsize=1)
def half_robust(count: int, device: str) -> tuple[nn.Module, Images, Attack]:
    """(the quickstart's network, trained adversarially; images; PGD-20 at the epsilon where
    about half of them are survivors)."""
    data = datasets.splits(Dataset(name="mnist-mini", size=16)).to(device)
    net = networks.build(CASES["quickstart"].model, data.classes, data.mean, data.std, 0).to(device)
    weak = Attack(kind="fgsm", epsilon=0.15, alpha=0.1875)
    recipe = Recipe(epochs=2, batch_size=64, lr=0.05)
    for _ in fit(net, data, Regime(recipe=recipe, attack=weak), seed=0):
        pass
    # Of any kind: there are more of these than of test images.
    there = data.train[:count]
    assert isinstance(there, Images), "they are in memory"
    low, high = 0.0, 0.5
    for _ in range(7):
        epsilon = (low + high) / 2
        attack = Attack(kind="pgd", epsilon=epsilon, alpha=epsilon / 4, steps=20)
        ra = evaluate(net, there[:256], attack, "worst_iterate").scores.ra
        assert ra is not None, "an attack was asked for"
        low, high = (epsilon, high) if ra > 0.5 else (low, epsilon)
    return net, there, attack


def pruned() -> tuple[dict[str, Tensor], Mask, int]:
    """(a ResNet-50's convolution weights, the dense mask, how many a first round of IMP keeps)."""
    net = networks.build(CASES["resnet50"].model, CLASSES, [0.5] * 3, [0.25] * 3, seed=0)
    full = masks.ones(net)
    weights = {n: p.detach() for n, p in net.named_parameters() if n in full}
    return weights, full, round(0.8 * masks.counts(full)[1])
