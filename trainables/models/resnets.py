"""Residual networks. Normalisation is inside the model; parameter names are torchvision's."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck

from search_spaces.spec import Arch, Model

Stem = Literal["imagenet", "cifar", "half"]


@dataclass(frozen=True)
class Architecture:
    """An architecture: residual blocks per stage, channels of the first stage, stem, shortcut."""

    block: type[BasicBlock] | type[Bottleneck]
    counts: tuple[int, ...]
    width: int
    stem: Stem
    shortcut: Literal["projection", "pad"] = "projection"


PLANS: dict[Arch, Architecture] = {
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
    """Images (N, C, H, W) in [0, 1] to logits (N, classes)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, plan: Architecture, classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        # Not persistent: the normalisation follows the data, not the weights.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        width, channels = plan.width, len(mean)
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
        x = (x - self.mean) / self.std
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


def build(
    model: Model, classes: int, mean: Sequence[float], std: Sequence[float], seed: int
) -> ResNet:
    """A network with weights drawn from `seed` alone; the global random state is left as it was.

    `mean` and `std` (one number a channel, for pixels in [0, 1]) become part of the forward pass.
    Initialisation is He et al. 2015 (fan-out) for convolutions, as in torchvision.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ResNet(plan(model), classes, mean, std)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    # Convolutions on this layout are faster, on CPU and GPU alike; results are the same numbers.
    return net.to(memory_format=torch.channels_last)


def fuse(net: nn.Module) -> nn.Module:
    """What `net` computes in eval mode, with every BatchNorm fused into the convolution before it:
    the same up to rounding, and faster. Networks other than ours are returned as they are."""
    if not isinstance(net, ResNet):
        return net
    copy = deepcopy(net).eval()
    for holder, convolution, norm in list(_pairs(copy)):
        fused = fuse_conv_bn_eval(getattr(holder, convolution), getattr(holder, norm))
        setattr(holder, convolution, fused)
        setattr(holder, norm, nn.Identity())
    return copy.to(memory_format=torch.channels_last)


def _pairs(net: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(module, name of a convolution in it, name of the BatchNorm that follows it)."""
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            kinds = [type(part) for part in module]
            if kinds in ([nn.Conv2d, nn.BatchNorm2d], [Strided1x1, nn.BatchNorm2d]):
                yield module, "0", "1"
        else:
            for number in (1, 2, 3):
                if isinstance(getattr(module, f"bn{number}", None), nn.BatchNorm2d):
                    yield module, f"conv{number}", f"bn{number}"
