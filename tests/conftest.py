"""Small collaborators that the fast tests share: no downloads, no Ray."""

import sys

import pytest
import torch
from torch import nn

from search_spaces.regimes import Attack, Evaluation, Recipe
from tests.support.commands import Ended
from trainables.data.images import Images, Splits
from trainables.models.normalisation import normalised
from trainables.models.resnets import Architecture, ResNet

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=5)


@pytest.fixture(autouse=True)
def _one_thread():
    """Sums run in one order: the same bits on every machine of a type."""
    torch.set_num_threads(1)


@pytest.fixture
def tuner(monkeypatch, capfd):
    """Runs `python -m tuner ARGUMENTS` in this process."""
    from tuner.cli import main

    def run(*arguments) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tuner", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(ended.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def analysis(capfd):
    """Runs `python -m analysis ARGUMENTS` in this process."""
    from analysis.cli import main

    def run(*arguments) -> Ended:
        capfd.readouterr()
        return Ended(main([*map(str, arguments)]), *capfd.readouterr())

    return run


@pytest.fixture
def net() -> nn.Module:
    """A tiny residual network for grey 8x8 images of two classes."""
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    body = ResNet(Architecture(BasicBlock, (1, 1), 4, "cifar"), classes=2, channels=1)
    return normalised(body, [0.5], [0.5])


def striped(n: int, seed: int) -> Images:
    """Grey 8x8 images, brighter above or below: a task that a tiny network learns in seconds."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randint(0, 120, (n, 1, 8, 8), generator=rng)
    x[y == 0, :, :4] += 60
    x[y == 1, :, 4:] += 60
    return Images(x.to(torch.uint8), y)


@pytest.fixture
def stripes() -> Splits:
    """Train, validation and test images of the striped task."""
    parts = [striped(n, seed) for seed, n in enumerate((64, 32, 32))]
    return Splits(*parts, classes=2, mean=(0.35,), std=(0.25,))


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(attack=PGD, validation=PGD)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(epochs=2, batch_size=16, lr=0.05)
