"""Residual networks with norms before convolutions (He et al. 2016b), with the parameter names of
kuangliu/pytorch-cifar, and the norm before the head that networks published on RobustBench have
(Wong et al. 2020, Rice et al. 2020)."""

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.networks import Model

COUNTS = {"preactresnet18": (2, 2, 2, 2), "preactresnet34": (3, 4, 6, 3)}
WIDTH = 64


class PreActBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice; a shortcut with a convolution starts after the first
    ReLU."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inside != outside:
            convolution = nn.Conv2d(inside, outside, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(convolution)

    def forward(self, x: Tensor) -> Tensor:
        ready = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(ready))))
        return out + (x if self.shortcut is None else self.shortcut(ready))


class PreActResNet(nn.Module):
    """Normalised images (N, channels, H, W) to logits (N, classes)."""

    def __init__(self, counts: tuple[int, ...], width: int, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.stages = []
        inside = width
        for number, count in enumerate(counts):
            outside, stride = width * 2**number, 1 if number == 0 else 2
            blocks = [PreActBlock(inside, outside, stride)]
            blocks += [PreActBlock(outside, outside, 1) for _ in range(1, count)]
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
            self.stages.append(f"layer{number + 1}")
            inside = outside
        self.bn = nn.BatchNorm2d(inside)
        self.linear = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.linear(F.adaptive_avg_pool2d(F.relu(self.bn(x)), 1).flatten(1))


def preact_resnet(model: Model, classes: int, channels: int) -> PreActResNet:
    """The network of a spec, initialised from torch's generator as torch does."""
    return PreActResNet(COUNTS[model.arch], model.width or WIDTH, classes, channels)
