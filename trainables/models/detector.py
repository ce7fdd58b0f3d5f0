"""Mask R-CNN (He et al. 2017) on a feature pyramid (Lin et al. 2017) over one of our ResNets: the
parts are torchvision's, the body's parameters keep the names that the classifier has them under.

Widths, and how many regions are looked at, follow the body's: with resnet50's 64 channels it is
torchvision's maskrcnn_resnet50_fpn, narrower ones look at fewer regions, at an eighth at least.
Anchors are eight strides of their level wide, in the aspects 1/2, 1 and 2.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, paste_masks_in_image
from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from search_spaces.networks import Model
from trainables.models.anatomy import Anatomy, examined, mark
from trainables.models.normalisation import normalised
from trainables.models.resnets import ResNet, plan, resnet

HEADS = ("fpn", "rpn", "roi_heads")
"""What is new for a task; the rest is the ticket's."""


Target = dict[str, Tensor]


class Found(NamedTuple):
    """The objects found in an image: masks (K, H, W) bool, classes (K,) from 1, scores (K,)."""

    masks: Tensor
    classes: Tensor
    scores: Tensor


class Detector(nn.Module):
    """Normalised images (N, 3, H, W) to the objects in them; with targets (of each image boxes (K,
    4), labels (K,) from 1 and masks (K, H, W) uint8), to the sum of the five losses, in whichever
    mode.

    BatchNorm keeps to its running statistics in train mode too, as is usual for batches of a few
    images; its weights are trained. The losses look at proposals drawn from torch's generator.
    """

    def __init__(self, body: ResNet, model: Model, classes: int) -> None:
        super().__init__()
        self.stages = body.stages
        for name, part in body.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, part)
        how = plan(model)
        channels = [how.width * 2**k * how.block.expansion for k in range(len(self.stages))]
        first = {"imagenet": 4, "half": 2, "cifar": 1}[how.stem]
        strides = [first * 2**k for k in range(len(self.stages) + 1)]
        self.fpn = FeaturePyramidNetwork(channels, 4 * how.width, LastLevelMaxPool())
        self.rpn = _proposals(how.width, strides)
        self.roi_heads = _heads(how.width, classes + 1, len(self.stages))
        self.train()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor, targets: list[Target] | None = None) -> Tensor | list[Found]:
        # Of these two, the mode says what is asked for, and nothing else.
        self.rpn.training = self.roi_heads.training = targets is not None
        sizes = [(x.shape[2], x.shape[3])] * len(x)
        images, features = ImageList(x, sizes), self.fpn(self._features(x))
        proposals, of_proposals = self.rpn(images, features, targets)
        detections, of_heads = self.roi_heads(features, proposals, sizes, targets)
        if targets is not None:
            return torch.stack([*of_proposals.values(), *of_heads.values()]).sum()
        return [_pasted(each, size) for each, size in zip(detections, sizes, strict=True)]

    def _features(self, x: Tensor) -> dict[str, Tensor]:
        features = {}
        for part in ("conv1", "bn1", "relu", "maxpool"):
            x = self.get_submodule(part)(x)
        for stage in self.stages:
            features[stage] = x = self.get_submodule(stage)(x)
        return features


def _regions(whole: int, width: int) -> int:
    """As many of `whole` regions as a width is of torchvision's, an eighth at least."""
    return max(whole // 8, min(whole, whole * width // 64))


def detector(
    model: Model, classes: int, mean: Sequence[float], std: Sequence[float], seed: int
) -> Detector:
    """A detector of `classes` kinds of objects with weights drawn from `seed` alone, that takes
    pixels in [0, 1]; the global random state is left as it was. Pruned are its body's weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Detector(resnet(model, classes, len(mean)), model, classes)
    known = examined(net, heads=HEADS, patterns=model.prunable or ())
    mark(net, Anatomy(HEADS, known.prunable))
    return normalised(net, mean, std).to(memory_format=torch.channels_last)


def _proposals(width: int, strides: Sequence[int]) -> RegionProposalNetwork:
    aspects = (0.5, 1.0, 2.0)
    anchors = AnchorGenerator(tuple((8 * s,) for s in strides), (aspects,) * len(strides))
    most = {"training": _regions(2000, width), "testing": _regions(1000, width)}
    # As torchvision's Faster R-CNN has them.
    return RegionProposalNetwork(
        anchors,
        RPNHead(4 * width, len(aspects)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n=most,
        post_nms_top_n=most,
        nms_thresh=0.7,
    )


def _heads(width: int, classes: int, levels: int) -> RoIHeads:
    channels, hidden = 4 * width, 16 * width
    names = [f"layer{k + 1}" for k in range(levels)]
    return RoIHeads(
        MultiScaleRoIAlign(names, output_size=7, sampling_ratio=2),
        TwoMLPHead(channels * 7**2, hidden),
        FastRCNNPredictor(hidden, classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=_regions(512, width),
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=100,
        mask_roi_pool=MultiScaleRoIAlign(names, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, classes),
    )


def _pasted(detections: dict[str, Tensor], size: tuple[int, int]) -> Found:
    masks = paste_masks_in_image(detections["masks"], detections["boxes"], size)
    return Found(masks[:, 0] > 0.5, detections["labels"], detections["scores"])
