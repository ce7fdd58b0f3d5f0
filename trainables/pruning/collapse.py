"""What a mask has cut: layers without weights, and networks without a path through them."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from trainables.pruning.criteria import flow
from trainables.pruning.masks import Mask, rewind


def empty_layers(mask: Mask) -> list[str]:
    """The layers of which nothing is left, in the network's order."""
    return [name for name, kept in mask.items() if not kept.any()]


def is_cut(net: nn.Module, theta: Mapping[str, Tensor], mask: Mask, shape: Sequence[int]) -> bool:
    """Is no path left from an image of a shape (C, H, W) to a class? Then the network says the same
    of every image. `net`, a network as theta's, is left with theta under the mask."""
    net.load_state_dict(rewind(theta, mask))
    return not flow(net, shape)[1].any()
