"""Whole channels: compared with torch's and torch-pruning's own, and with smaller networks."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from search_spaces.errors import InputError
from search_spaces.levels import kept
from search_spaces.spec import Model
from trainables.models import networks
from trainables.pruning import masks
from trainables.pruning.channels import channels_of, keep_channels, stays
from trainables.pruning.collapse import empty_layers, is_cut

tp = pytest.importorskip("torch_pruning", reason="needs the extra [channels]")

SHAPE = (1, 8, 8)


def plain(seed=0):
    """Two convolutions and a head."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


def built(arch):
    return networks.build(Model(arch=arch), 10, [0.5] * 3, [0.5] * 3, 0, 16)


def sized(net):
    dense = masks.ones(net)
    return masks.magnitudes(dict(net.named_parameters()), dense), dense


def rows(mask):
    return mask.flatten(1).any(1)


def test_of_one_layer_it_keeps_what_torchs_structured_pruning_keeps():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten())
    net.append(nn.Linear(8, 10))
    scores, dense = sized(net)
    ours = keep_channels(scores, dense, 5 * 27, channels_of(net, (3, 8, 8)))
    prune.ln_structured(net[0], "weight", amount=3, n=1, dim=0)
    assert torch.equal(ours["0.weight"], net[0].weight_mask.bool())


def test_by_layer_it_keeps_what_torch_prunings_pruner_leaves():
    net = plain()
    scores, dense = sized(net)
    count = 4 * 9 + 3 * 4 * 9
    ours = keep_channels(scores, dense, count, channels_of(net, SHAPE), "layer")
    weights = {name: p.detach().clone() for name, p in net.named_parameters()}
    pruner = tp.pruner.MetaPruner(
        net,
        torch.zeros(1, *SHAPE),
        importance=tp.importance.MagnitudeImportance(p=1, group_reduction="first", normalizer=None),
        pruning_ratio=0.5,
        ignored_layers=[net[7]],
    )
    pruner.step()
    assert masks.counts(ours)[0] == count
    for name in ours:
        left = dict(net.named_parameters())[name]
        assert torch.equal(weights[name][ours[name]], left.flatten())


class Joined(nn.Module):
    """Each layer reads what all before it have computed, side by side."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.third, self.head = nn.Conv2d(10, 8, 1), nn.Linear(18, 10)

    def forward(self, x):
        x = self.first(x)
        x = torch.cat([x, self.second(x.relu())], 1)
        return self.head(torch.cat([self.third(x), x], 1).relu().mean((2, 3)))


@pytest.mark.parametrize(
    "make",
    [
        Joined,
        lambda: built("resnet8"),
        lambda: built("preactresnet18"),
        lambda: built("wrn-10-1"),
        lambda: built("torchvision:mobilenet_v3_small"),
    ],
)
def test_the_network_without_its_channels_is_the_network_under_the_mask(make):
    """Removed by torch-pruning, it has as many weights as the mask keeps, and says the same: in a
    fresh network norms add nothing to a channel that is zero."""
    torch.manual_seed(0)
    net, size = make().eval(), 16
    scores, dense = sized(net)
    third, channels = masks.counts(dense)[1] // 3, channels_of(net, (3, size, size))
    mask = keep_channels(scores, dense, third, channels, "layer")
    for module in net.modules():  # Biases of convolutions would be left of a channel.
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    net.load_state_dict(masks.rewind(net.state_dict(), mask))
    with torch.no_grad():
        expected = net(x)
    graph = tp.DependencyGraph().build_dependency(net, torch.zeros(1, 3, size, size))
    names = {module: f"{name}.weight" for name, module in net.named_modules()}
    heads = [m for m, name in names.items() if isinstance(m, nn.Linear) and name not in mask]
    for group in list(graph.get_all_groups(ignored_layers=heads)):
        root = group[0].dep.target.module
        gone = (~rows(mask[names[root]])).nonzero().flatten().tolist()
        graph.get_pruning_group(root, group[0].dep.handler, gone).prune()
    left = sum(dict(net.named_parameters())[name].numel() for name in mask)
    assert left == masks.counts(mask)[0] <= third
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(["global", "layer"]))
def test_as_many_as_fit_and_each_whole(seed, share, scope):
    net = plain()
    channels, dense = channels_of(net, SHAPE), masks.ones(net)
    rng = torch.Generator().manual_seed(seed)
    # Few values: many scores are equal.
    scores = {n: torch.randint(0, 3, m.shape, generator=rng).float() for n, m in dense.items()}
    count = round(share * masks.counts(dense)[1])
    mask = keep_channels(scores, dense, count, channels, scope)
    number = masks.counts(mask)[0]
    assert number <= count
    first, second = rows(mask["0.weight"]), mask["3.weight"]
    # Of a channel that is there all is there, of one that is not nothing, also where it is read.
    assert torch.equal(mask["0.weight"], first[:, None, None, None].expand(8, 1, 3, 3))
    reads = second.any(0).flatten(1).any(1)
    assert not (reads & ~first).any()
    # One channel more would be too many: no other holds more than its own and its readers'.
    assert count - number < 9 + 6 * 9 + 8 * 9


def test_a_channel_is_of_all_layers_that_add_up(net):
    channels = channels_of(net, SHAPE)
    same = channels.computed["conv1.weight"], channels.computed["layer1.0.conv2.weight"]
    assert torch.equal(*same) and (same[0] > 0).all()
    assert torch.equal(channels.read["layer1.0.conv1.weight"][0], same[0])
    # The image's channels and the classes stay, and so does nothing else.
    assert not channels.read["conv1.weight"].any()
    assert stays(masks.ones(net), channels) == 0


def test_in_a_convolution_of_groups_outputs_read_their_own_groups_inputs():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 1, groups=2), nn.AvgPool2d(8))
    net.extend([nn.Flatten(), nn.Linear(6, 10)])
    channels, (scores, dense) = channels_of(net, SHAPE), sized(net)
    scores["0.weight"][3] = -1
    mask = keep_channels(scores, dense, masks.counts(dense)[1] - 4, channels)
    assert mask["0.weight"].flatten().tolist() == [True, True, True, False]
    whole, second = [[True, True]] * 3, [[True, False]] * 3
    assert mask["1.weight"].flatten(1).tolist() == [*whole, *second]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_rounds_are_nested(net, scope):
    channels, mask = channels_of(net, SHAPE), masks.ones(net)
    total = masks.counts(mask)[1]
    for level in range(1, 12):
        rng = torch.Generator().manual_seed(level)
        scores = {n: torch.rand(m.shape, generator=rng) for n, m in mask.items()}
        before, mask = mask, keep_channels(scores, mask, kept(total, level), channels, scope)
        assert masks.counts(mask)[0] <= kept(total, level)
        assert not any((mask[n] & ~before[n]).any() for n in mask)


def test_by_layer_no_layer_is_emptied_before_the_last_and_globally_it_is_named(net):
    channels = channels_of(net, SHAPE)
    theta = {name: value.clone() for name, value in net.state_dict().items()}
    scores, dense = sized(net)
    total, block = masks.counts(dense)[1], ["layer2.0.conv1.weight", "layer2.0.conv2.weight"]
    even = keep_channels(scores, dense, total // 10, channels, "layer")
    assert empty_layers(even) == [] and not is_cut(net, theta, even, SHAPE)
    low = {**scores, block[0]: scores[block[0]] - 10}
    without = total - sum(dense[name].numel() for name in block)
    uneven = keep_channels(low, dense, without, channels)
    # With a channel goes what reads it: the block's second layer is empty too.
    assert empty_layers(uneven) == block and masks.counts(uneven)[0] == without
    assert not is_cut(net, theta, uneven, SHAPE)
    nothing = keep_channels(scores, dense, 0, channels)
    assert len(empty_layers(nothing)) == len(nothing) and is_cut(net, theta, nothing, SHAPE)


class Positions(nn.Module):
    """What a linear layer computes, with parameters of another kind added: a part of it stays."""

    def __init__(self):
        super().__init__()
        self.embed, self.places = nn.Linear(64, 6), nn.Parameter(torch.ones(6))
        self.up, self.down, self.head = nn.Linear(6, 9), nn.Linear(9, 6), nn.Linear(6, 10)

    def forward(self, x):
        x = self.embed(x.flatten(1)) + self.places
        return self.head(x + self.down(self.up(x).relu()))


def test_channels_that_something_else_computes_too_stay():
    net = Positions()
    channels = channels_of(net, SHAPE)
    assert not channels.computed["embed.weight"].any()
    assert not channels.computed["down.weight"].any()
    assert (channels.computed["up.weight"] > 0).all()
    assert stays(masks.ones(net), channels) == 64 * 6
    scores, dense = sized(net)
    with pytest.raises(ValueError, match="384 weights"):
        keep_channels(scores, dense, 383, channels)


def test_scores_without_a_number_are_refused(net):
    scores, dense = sized(net)
    scores["conv1.weight"] = torch.full_like(scores["conv1.weight"], float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        keep_channels(scores, dense, 100, channels_of(net, SHAPE))


def test_without_torch_pruning_it_says_what_to_install(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(InputError, match=r"\.\[channels\]"):
        channels_of(net, SHAPE)


def test_what_has_no_channels_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(8, 1), nn.Linear(8, 10)

        def forward(self, x):
            x = x.flatten(1, 2)
            return self.head(self.attention(x, x, x)[0].mean(1))

    with pytest.raises(InputError, match="in_proj_weight"):
        channels_of(Twice(), SHAPE)
