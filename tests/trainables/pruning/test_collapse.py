"""What a mask has cut is found, and only that."""

import torch

from trainables.pruning import masks
from trainables.pruning.collapse import empty_layers, is_cut

SHAPE = (1, 8, 8)


def test_an_emptied_layer_is_named_and_a_shortcut_keeps_the_path(net):
    mask = masks.ones(net)
    name = "layer1.0.conv1.weight"
    mask[name][:] = False
    assert empty_layers(mask) == [name]
    assert not is_cut(net, net.state_dict(), mask, SHAPE)


def test_a_network_without_a_stem_is_cut(net):
    mask = masks.ones(net)
    assert not is_cut(net, net.state_dict(), mask, SHAPE)
    mask["conv1.weight"][:] = False
    assert is_cut(net, net.state_dict(), mask, SHAPE)


def test_layers_that_do_not_meet_are_cut_though_none_is_empty():
    """What the first layer computes, the second does not read."""
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(2, 1, 1))
    mask = masks.ones(net)
    theta = {name: value.clone() for name, value in net.state_dict().items()}
    mask["0.weight"][0] = False
    mask["1.weight"][:, 1] = False
    assert empty_layers(mask) == []
    assert is_cut(net, theta, mask, SHAPE)
    mask["1.weight"][:, 1] = True
    assert not is_cut(net, theta, mask, SHAPE)
