"""Residual networks of CIFAR and ImageNet; parameter names are torchvision's."""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from search_spaces.networks import Model

Stem = Literal["imagenet", "cifar", "half"]


@dataclass(frozen=True)
class Architecture:
    """An architecture: residual blocks per stage, channels of the first stage, stem, shortcut."""

    block: type[BasicBlock] | type[Bottleneck]
    counts: tuple[int, ...]
    width: int
    stem: Stem
    shortcut: Literal["projection", "pad"] = "projection"


PLANS: dict[str, Architecture] = {
    # He et al. 2016, section 4.1: ImageNet networks, with 1x1 projections
    "resnet18": Architecture(BasicBlock, (2, 2, 2, 2), 64, "imagenet"),
    "resnet34": Architecture(BasicBlock, (3, 4, 6, 3), 64, "imagenet"),
    "resnet50": Architecture(Bottleneck, (3, 4, 6, 3), 64, "imagenet"),
    # He et al. 2016, section 4.2: CIFAR networks of 6n+2 layers, with zero-padded shortcuts
    "resnet20": Architecture(BasicBlock, (3, 3, 3), 16, "cifar", "pad"),
    "resnet32": Architecture(BasicBlock, (5, 5, 5), 16, "cifar", "pad"),
    "resnet44": Architecture(BasicBlock, (7, 7, 7), 16, "cifar", "pad"),
    "resnet56": Architecture(BasicBlock, (9, 9, 9), 16, "cifar", "pad"),
    # The same blocks at the smallest depth, for small images and small machines
    "resnet8": Architecture(BasicBlock, (1, 1, 1), 16, "half"),
}


class PadShortcut(nn.Module):
    """He et al. 2016, option A: every second pixel, new channels zero on both sides."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.pad = (after - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.pad, self.pad))


class Strided1x1(nn.Conv2d):
    """A strided 1x1 convolution as what it is: every second pixel, convolved.

    oneDNN's kernel for its weight's gradient writes past a buffer where fewer than 8 channels come
    in, channels last, on a CPU without AVX-512.
    """

    def forward(self, x: Tensor) -> Tensor:
        down, right = self.stride
        return F.conv2d(x[:, :, ::down, ::right], self.weight, self.bias)


class ResNet(nn.Module):
    """Normalised images (N, channels, H, W) to logits (N, classes)."""

    def __init__(self, plan: Architecture, classes: int, channels: int) -> None:
        super().__init__()
        width = plan.width
        if plan.stem == "imagenet":
            self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
            self.maxpool: nn.Module = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            stride = 2 if plan.stem == "half" else 1
            self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.stages = []
        inside = width
        for number, count in enumerate(plan.counts):
            outside = width * 2**number
            stride = 1 if number == 0 else 2
            self.add_module(f"layer{number + 1}", _stage(plan, inside, outside, count, stride))
            self.stages.append(f"layer{number + 1}")
            inside = outside * plan.block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(self.avgpool(x).flatten(1))


def _stage(plan: Architecture, inside: int, outside: int, count: int, stride: int) -> nn.Sequential:
    after = outside * plan.block.expansion
    shortcut: nn.Module | None = None
    if stride != 1 or inside != after:
        if plan.shortcut == "pad":
            shortcut = PadShortcut(inside, after, stride)
        else:
            convolution = Strided1x1 if stride != 1 and inside < 8 else nn.Conv2d
            shortcut = nn.Sequential(
                convolution(inside, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )
    blocks = [plan.block(inside, outside, stride, shortcut)]
    blocks += [plan.block(after, outside) for _ in range(1, count)]
    return nn.Sequential(*blocks)


def plan(model: Model) -> Architecture:
    """The architecture of a spec: the named one, with the spec's own width and stem if it has."""
    named = PLANS[model.arch]
    return replace(named, width=model.width or named.width, stem=model.stem or named.stem)


def resnet(model: Model, classes: int, channels: int) -> ResNet:
    """The network of a spec, initialised from torch's generator: He et al. 2015 (fan-out) for
    convolutions, as in torchvision."""
    net = ResNet(plan(model), classes, channels)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
