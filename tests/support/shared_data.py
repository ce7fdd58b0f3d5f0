"""Real data and published weights that are not part of the project: tests skip without them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.networks import Checkpoint
from search_spaces.regimes import Attack
from search_spaces.spec import Model
from tests.support.paths import ROOT
from trainables.checkpoints import formats
from trainables.data.images import Images

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
# 2/255 is what the robust network below was trained against.
PGD = Attack(kind="pgd", epsilon=2 / 255, alpha=0.5 / 255, steps=20)


def shared(name: str) -> Path:
    """A file of the shared data folder: shared/data beside the checkout, or DOUBLE_WIN_SHARED."""
    beside = ROOT.parent / "shared" / "data"
    path = Path(os.environ.get("DOUBLE_WIN_SHARED", beside)) / name
    if not path.is_file():
        pytest.skip(f"no {path}: set DOUBLE_WIN_SHARED to the folder that holds {name}")
    return path


def made_cases(folder: Path) -> Path:
    """The folder, with small inputs like those that users bring, made by shared/cases/make.py."""
    script = shared("README.md").parent.parent / "cases" / "make.py"
    if not script.is_file():
        pytest.skip(f"no {script}: set DOUBLE_WIN_SHARED to the data folder beside cases/")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


def cifar10_test(count: int) -> Images:
    """The first `count` of 2,000 CIFAR-10 test images (decoded from JPEG), in a mixed order."""
    with np.load(shared("cifar10_7k.npz")) as arrays:
        x = torch.from_numpy(arrays["test_x"]).permute(0, 3, 1, 2).contiguous()
        y = torch.from_numpy(arrays["test_y"])
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:count]
    return Images(x[order], y[order])


class Block(nn.Module):
    """Two convolutions with biases, no BatchNorm, and a 1x1 shortcut where they stride."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(before, after, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class ResNet2b(nn.Module):
    """A small residual network of the verification literature, for CIFAR-10."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(CIFAR_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CIFAR_STD).view(1, 3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer1 = nn.Sequential(Block(8, 16, 2), Block(16, 16, 1))
        self.linear1, self.linear2 = nn.Linear(1024, 100), nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(F.relu(self.conv1((x - self.mean) / self.std)))
        return self.linear2(F.relu(self.linear1(x.flatten(1))))


def resnet2b() -> nn.Module:
    """The adversarially trained network, in eval mode."""
    path = shared("weights/cifar10_resnet2b_adv.pth")
    net = ResNet2b().eval()
    checkpoint = Checkpoint(format="state_dict", path=str(path))
    net.load_state_dict(formats.load(checkpoint, Model(arch="resnet8"), net).state)
    return net
