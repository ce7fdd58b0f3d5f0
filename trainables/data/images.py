"""Images and labels as values: sets in memory, the splits of a dataset, batches as floats.

Pixels are uint8 in sets and batches, [0, 1] after `Images.pixels`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.spec import Augmentation, View
from trainables.runtime.seeding import generator

AREAS: dict[View, tuple[float, float]] = {"crop": (0.08, 1.0), "wide_crop": (0.75, 1.33)}
"""Of views with random crops: the least and the most share of the image's area."""
MAX_ASPECT = 4 / 3
TRIES = 10


class ImageSet(Protocol):
    """Labelled images, in memory or in files: what training and evaluation need of them."""

    @property
    def y(self) -> Tensor:
        """(N,) int64 labels, or of objects what `instances` says; batches come on their device."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor | slice) -> Self:
        """The images at an index (N,) or slice; reads no pixels."""

    def to(self, device: torch.device | str) -> Self:
        """The same set with its batches on a device."""

    def stream(self, batches: Sequence[Tensor], seed: int | None) -> Iterator["Images"]:
        """Batches in memory, in order, each given by its indices (N,). `seed` fixes the random
        views of images that are cut while they are read; None: the views that are evaluated."""


@dataclass(frozen=True)
class Images:
    """x: (N, C, H, W) uint8; y: (N,) int64, or of objects what `instances` says. crop: side in
    pixels of the square view that `pixels` cuts out of each image, as `view` wants it; None: images
    are seen whole, as they are."""

    x: Tensor
    y: Tensor
    crop: int | None = None
    view: View = "crop"

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Tensor | slice) -> "Images":
        return replace(self, x=self.x[index], y=self.y[index])

    def to(self, device: torch.device | str) -> "Images":
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def stream(self, batches: Sequence[Tensor], seed: int | None) -> Iterator["Images"]:
        """Batches by their indices. Views are cut later, in `pixels`, so `seed` has no effect."""
        return (self[batch] for batch in batches)

    def pixels(self, rng: torch.Generator | None = None) -> Tensor:
        """(N, C, H, W) float32 in [0, 1], channels last.

        With `crop`, (N, C, crop, crop): a random resized crop drawn from `rng` (on x's device), or
        without it what is evaluated (`still_box`). Without `crop`, draws nothing.
        """
        if self.crop is None:
            return pixels(self.x)
        n, _, height, width = self.x.shape
        if rng is None:
            boxes = still_box(height, width, self.view).to(self.x.device).expand(n, 4)
        else:
            boxes = random_boxes(n, height, width, rng, self.view)
        return cut(pixels(self.x), boxes, self.crop)


@dataclass(frozen=True)
class Splits:
    """One dataset: three disjoint splits, number of classes, training pixels' mean and std."""

    train: ImageSet
    val: ImageSet
    test: ImageSet
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to(self, device: torch.device | str) -> "Splits":
        train, val, test = (part.to(device) for part in (self.train, self.val, self.test))
        return replace(self, train=train, val=val, test=test)


def pixels(x: Tensor) -> Tensor:
    """uint8 images to float32 in [0, 1], laid out for fast convolutions."""
    return x.to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)


def random_boxes(
    n: int, height: int, width: int, rng: torch.Generator, view: View = "crop"
) -> Tensor:
    """n boxes (left, top, width, height), in pixels and fractions, inside a height x width image.

    As torchvision's RandomResizedCrop: area uniform in the view's AREAS, aspect log-uniform in 3/4
    to 4/3, anew up to ten times while the box does not fit; after that the largest central
    box of an allowed aspect. On the generator's device.
    """
    area, aspect, x, y = torch.rand(4, n, TRIES, generator=rng, device=rng.device)
    least, most = AREAS[view]
    area = (least + (most - least) * area) * (height * width)
    aspect = (math.log(MAX_ASPECT) * (2 * aspect - 1)).exp()
    w, h = (area * aspect).sqrt(), (area / aspect).sqrt()
    tries = torch.stack([x * (width - w), y * (height - h), w, h], dim=-1)
    fits = (w <= width) & (h <= height)
    first = (fits * torch.arange(TRIES, 0, -1, device=rng.device)).argmax(1)
    chosen = tries[torch.arange(n, device=rng.device), first]
    w, h = min(width, height * MAX_ASPECT), min(height, width * MAX_ASPECT)
    fallback = torch.tensor([(width - w) / 2, (height - h) / 2, w, h], device=rng.device)
    return torch.where(fits.any(1, keepdim=True), chosen, fallback)


def still_box(height: int, width: int, view: View = "crop") -> Tensor:
    """(left, top, width, height) of what is evaluated: of view crop the central square of 7/8 of
    the short side, of wide_crop the whole image."""
    if view == "wide_crop":
        return torch.tensor([0.0, 0.0, width, height])
    side = min(height, width) * 7 / 8
    return torch.tensor([(width - side) / 2, (height - side) / 2, side, side])


def cut(x: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Each image's box (left, top, width, height), bilinearly sampled at size x size points."""
    height, width = x.shape[2:]
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    # Coordinates run from -1 to 1 between the image's outer edges.
    theta[:, 0, 0], theta[:, 1, 1] = boxes[:, 2] / width, boxes[:, 3] / height
    theta[:, 0, 2] = (2 * boxes[:, 0] + boxes[:, 2]) / width - 1
    theta[:, 1, 2] = (2 * boxes[:, 1] + boxes[:, 3]) / height - 1
    grid = F.affine_grid(theta, [*x.shape[:2], size, size], align_corners=False)
    views = F.grid_sample(x, grid, "bilinear", padding_mode="border", align_corners=False)
    # Rounding may leave [0, 1] by one part in 10^7; attacks rely on the bounds.
    return views.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


def augment(x: Tensor, how: Augmentation, rng: torch.Generator) -> Tensor:
    """Random crops and flips of a whole batch (N, C, H, W), drawn from `rng` on x's device."""
    n, _, height, width = x.shape
    if how.crop:
        pad = how.crop
        down, right = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=rng, device=x.device)
        rows = down + torch.arange(height, device=x.device)
        columns = right + torch.arange(width, device=x.device)
        each = torch.arange(n, device=x.device)
        padded = F.pad(x, (pad,) * 4).permute(0, 2, 3, 1)
        x = padded[each[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if how.flip:
        mirrored = torch.rand(n, 1, 1, 1, generator=rng, device=x.device) < 0.5
        x = torch.where(mirrored, x.flip(-1), x)
    return x


def balanced(labels: Tensor, rng: torch.Generator) -> Tensor:
    """A random order of all images in which every beginning is balanced over classes: each class
    has its first image in it before any has its second share of equal size."""
    order = torch.randperm(len(labels), generator=rng)
    by_class = order[labels[order].argsort(stable=True)]
    counts = labels.bincount()
    starts = counts.cumsum(0) - counts
    label = labels[by_class]
    turn = torch.empty(len(labels), dtype=torch.float64)
    turn[by_class] = (torch.arange(len(labels)) - starts[label]).double() / counts[label]
    return order[turn[order].argsort(stable=True)]


S = TypeVar("S", bound=ImageSet)


def parted(labels: Tensor, *counts: int) -> list[Tensor]:
    """The places of images with these labels, in parts of the given sizes and the rest, each
    balanced over classes; the same on every call. A class's only image is in the rest, which is
    what is trained on."""
    order = balanced(labels, generator(0, "split"))
    alone = labels.bincount()[labels[order]] == 1
    held, others = sum(counts), order[~alone]
    order = torch.cat([others[:held], order[alone], others[held:]]) if counts else order
    return list(order.split([*counts, len(order) - held]))


def held_out(images: S, *counts: int) -> list[S]:
    """`parted` images."""
    return [images[part] for part in parted(images.y, *counts)]


def chunks(images: int, size: int) -> Iterator[slice]:
    """Slices of so many images that their `size` bytes each are about 4 MB: what is computed from
    a whole set piece by piece takes no memory to speak of."""
    step = max(1, (4 << 20) // size)
    return (slice(start, start + step) for start in range(0, images, step))
