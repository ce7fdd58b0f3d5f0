"""Wide residual networks (Zagoruyko and Komodakis 2016), with the parameter names of those on
RobustBench: of xternalz/WideResNet-pytorch, which TRADES and others took over."""

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.networks import Model, depth_and_width


class WideBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice; where channels change, the shortcut starts after the
    first ReLU."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.convShortcut: nn.Module | None = None
        if inside != outside:
            self.convShortcut = nn.Conv2d(inside, outside, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        ready = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(ready))))
        return out + (x if self.convShortcut is None else self.convShortcut(ready))


class WideStage(nn.Module):
    """Blocks of one width, the first of which may stride."""

    def __init__(self, count: int, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        blocks = [WideBlock(inside, outside, stride)]
        blocks += [WideBlock(outside, outside, 1) for _ in range(1, count)]
        self.layer = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """Normalised images (N, channels, H, W) to logits (N, classes)."""

    def __init__(self, depth: int, factor: int, classes: int, channels: int) -> None:
        super().__init__()
        count, widths = (depth - 4) // 6, [16, 16 * factor, 32 * factor, 64 * factor]
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.block1 = WideStage(count, widths[0], widths[1], 1)
        self.block2 = WideStage(count, widths[1], widths[2], 2)
        self.block3 = WideStage(count, widths[2], widths[3], 2)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.bn1(x)), 1).flatten(1))


def wide_resnet(model: Model, classes: int, channels: int) -> WideResNet:
    """The network of a spec, initialised from torch's generator: He et al. 2015 (fan-out) for
    convolutions, zero for the head's biases, as published."""
    depth, factor = depth_and_width(model.arch) or (0, 0)
    net = WideResNet(depth, factor, classes, channels)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(net.fc.bias)
    return net
