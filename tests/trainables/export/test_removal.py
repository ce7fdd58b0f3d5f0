"""Networks without their dead channels against the same networks with them, in double precision."""

import pytest
import torch
from torch import nn

from search_spaces.networks import Model
from trainables.export.removal import without_dead_channels
from trainables.models import networks

ROUNDING = 1e-12
"""Of sums in double precision, in another order."""


def deadened(net, share):
    """A network in which some layers' rows and columns are zero, and norms' shifts are not."""
    rng = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=rng)
            weight = module.weight.data
            if module is not net.get_submodule(net.anatomy.heads[0]):
                weight[torch.rand(len(weight), generator=rng) < share] = 0
            if weight.shape[1] > 3:
                weight[:, torch.rand(weight.shape[1], generator=rng) < share / 2] = 0
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean):
                values.normal_(generator=rng)
    return net.eval()


def outputs(net, channels=3, size=32):
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(4, channels, size, size, dtype=torch.float64, generator=rng)
    with torch.no_grad():
        return net(images)


def same(net, others, **images):
    expected, found = outputs(net, **images), outputs(others, **images)
    assert expected.std(0).max() > 1e-6, "a network that answers nothing would show nothing"
    return (found - expected).abs().max() <= ROUNDING * expected.abs().max()


@pytest.mark.parametrize(
    "arch",
    [
        *("resnet8", "resnet20", "preactresnet18", "wrn-10-1"),
        *("torchvision:mobilenet_v3_small", "torchvision:squeezenet1_1"),
    ],
)
def test_outputs_are_the_same_without_dead_channels(arch):
    """Residual sums, padded and projected ones, norms before convolutions, depthwise convolutions,
    gates, joined channels, a convolution as head."""
    net = deadened(networks.build(Model(arch=arch), 5, [0.5] * 3, [0.3] * 3, 0, 32).double(), 0.2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    removal = without_dead_channels(net)
    assert removal.reason is None and removal.share > 0.02
    assert same(net, removal.net)
    left, total = (sum(p.numel() for p in each.parameters()) for each in (removal.net, net))
    assert left < total
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def chain(shifts):
    """A convolution of whose eight channels the last six are dead, a norm that shifts those as
    given, and a convolution that pads."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1)
    ).double()
    net[0].weight.data[2:] = 0
    net[1].bias.data[2:] = torch.tensor(shifts)
    return net.eval()


def test_what_reaches_the_next_layer_as_zero_is_removed():
    net = chain([-1.0, -2.0, 0.0, -0.5, -3.0, -1.0])
    removal = without_dead_channels(net)
    assert removal.channels == {"0": (2, 8)} and removal.total == (7, 13)
    assert removal.net[3].weight.shape == (5, 2, 3, 3)
    assert same(net, removal.net)


def test_of_channels_that_are_constant_one_stays_for_all():
    net = chain([-1.0, 0.5, 2.0, -1.0, 1.0, 0.25])
    removal = without_dead_channels(net)
    assert removal.channels == {"0": (3, 8)}
    assert same(net, removal.net)


def test_what_nobody_reads_is_removed_and_what_it_alone_reads():
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Conv2d(*io, 1) for io in ((3, 4), (4, 4), (4, 2)))).double()
    net[2].weight.data[:, 1:] = 0
    net[1].weight.data[0, 2:] = 0
    removal = without_dead_channels(net)
    assert removal.channels == {"0": (2, 4), "1": (1, 4)}
    assert same(net, removal.net)


class Residual(nn.Module):
    """x + f(x), read by a convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.inner, self.last = (nn.Conv2d(n, 4, 1, bias=False) for n in (3, 4, 4))

    def forward(self, x):
        x = self.stem(x)
        return self.last(x + self.inner(x))


def test_a_channel_of_a_sum_goes_where_both_its_terms_are_zero():
    net = Residual().double()
    net.inner.weight.data[:2] = 0
    assert without_dead_channels(net).channels == {}
    net.stem.weight.data[1:3] = 0
    removal = without_dead_channels(net)
    assert removal.channels == {"stem": (3, 4), "inner": (3, 4)}
    assert same(net, removal.net)


class Looking(Residual):
    """One whose forward pass looks at the values, and one that uses a layer's weights by itself."""

    def forward(self, x):
        return super().forward(x) if x.mean() > 0 else x


class Sharing(Residual):
    def forward(self, x):
        return super().forward(x) * self.stem.weight.sum()


@pytest.mark.parametrize("kind", [Looking, Sharing])
def test_what_is_not_understood_is_kept(kind):
    net = kind().double()
    for layer in (net.stem, net.inner):
        layer.weight.data[1:3] = 0
    removal = without_dead_channels(net)
    assert removal.channels == {}
    assert (removal.reason is not None) == (kind is Looking)
    assert same(net, removal.net)


def test_a_layer_keeps_one_channel():
    net = chain([-1.0] * 6)
    net[0].weight.data.zero_()
    net[1].bias.data.fill_(-1.0)
    removal = without_dead_channels(net)
    assert removal.channels == {"0": (1, 8)}
    assert torch.equal(outputs(removal.net), outputs(net))
