"""BatchNorm folded into the convolutions before it, where a network's structure shows them."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from trainables.models.preact_resnets import PreActBlock
from trainables.models.resnets import ResNet
from trainables.models.wide_resnets import WideBlock

_ORIGINS = {"trainables", "torchvision"}
# Of modules with a forward pass of their own: each convolution that a norm follows, by name.
_CONV1, _CONV2, _CONV3 = ("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")
_FOLLOWED: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    ResNet: (_CONV1,),
    TorchvisionResNet: (_CONV1,),
    BasicBlock: (_CONV1, _CONV2),
    Bottleneck: (_CONV1, _CONV2, _CONV3),
    WideBlock: (("conv1", "bn2"),),
    PreActBlock: (("conv1", "bn2"),),
}


def folded(net: nn.Module) -> nn.Module:
    """What `net` computes in eval mode, with every BatchNorm folded into the convolution that is
    known to stand before it, in an nn.Sequential or in a block of ours or torchvision's: the same
    up to rounding, and faster. A network in which none is found is returned as it is, and so is
    one of another origin: what its forward pass does with its parts is not known."""
    if type(net).__module__.split(".")[0] not in _ORIGINS or not any(_pairs(net)):
        return net
    copy = deepcopy(net).eval()
    for holder, convolution, norm in list(_pairs(copy)):
        fused = fuse_conv_bn_eval(getattr(holder, convolution), getattr(holder, norm))
        setattr(holder, convolution, fused)
        setattr(holder, norm, nn.Identity())
    return copy.to(memory_format=torch.channels_last)


def _pairs(net: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(module, name of a convolution in it, name of the BatchNorm that follows it)."""
    uses = Counter(id(m) for _, m in net.named_modules(remove_duplicate=False))
    for holder in net.modules():
        for convolution, norm in _followed(holder):
            before, after = (getattr(holder, name, None) for name in (convolution, norm))
            if not isinstance(before, nn.Conv2d) or not isinstance(after, nn.BatchNorm2d):
                continue
            # A batch's own statistics cannot be folded, nor a kind of norm that does more, nor what
            # stands in two places.
            plain = type(after) is nn.BatchNorm2d and after.track_running_stats
            if plain and uses[id(before)] == uses[id(after)] == 1:
                yield holder, convolution, norm


def _followed(holder: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of parts that come one after the other."""
    if type(holder).forward is nn.Sequential.forward:
        names = list(holder._modules)
        yield from pairwise(names)
    yield from _FOLLOWED.get(type(holder), ())
