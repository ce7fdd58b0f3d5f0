"""The catalogue of datasets: splits by name, brought to the size and view that a study asks for.

Choices read validation images, test images are for the end.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
from torch.nn import functional as F

from search_spaces.own import is_own
from search_spaces.spec import Dataset, Transfer
from trainables.data import instances, readers
from trainables.data.catalogue import NORMALISATION, Normalisation, channels_and_classes
from trainables.data.images import Images, ImageSet, Splits, balanced, chunks
from trainables.runtime.seeding import generator

READERS: dict[str, Callable[[Dataset], tuple[ImageSet, ImageSet, ImageSet]]] = {
    "mnist-mini": readers.mnist_mini,
    "digits": readers.digits,
    "digits-few": readers.digits_few,
    "cifar10": readers.torchvision_set,
    "cifar100": readers.torchvision_set,
    "svhn": readers.torchvision_set,
    "gtsrb": readers.small_files,
    "imagenet": readers.folders,
    "cub200": readers.folders,
    "visda17": readers.folders,
    "npz": readers.npz,
    "folder": readers.folders,
    "voc": instances.read,
    "masks": instances.read,
}


# Two datasets stay in memory: a reused process sees the same ones again and again. Tensors in a
# cached value are shared, and nothing writes to them.
@lru_cache(maxsize=2)
def splits(dataset: Dataset) -> Splits:
    """The splits of a dataset, the same for every seed, with its limit, size and view.

    Normalisation is the published one where the dataset has it, otherwise measured on the training
    pixels. Raises InputError for files that are absent or not what they should be.
    """
    classes = channels_and_classes(dataset)[1]
    reader = readers.own if is_own(dataset.name) else READERS[dataset.name]
    train, val, test = (_seen(part[: dataset.limit], dataset) for part in reader(dataset))
    mean, std = NORMALISATION.get(dataset.name) or _measured(train)
    return Splits(train, val, test, classes, mean, std)


@lru_cache(maxsize=2)
def splits_on(dataset: Dataset, device: torch.device) -> Splits:
    """The splits of a dataset on a device: images in memory are copied there whole, as uint8, once
    for all trainings of a process."""
    return splits(dataset).to(device)


def training_part(transfer: Transfer, device: torch.device) -> Splits:
    """A transfer's splits on a device, with its fraction of the training images: balanced over
    classes and drawn from the transfer's seed (every class has one while there are as many images
    as classes), or the first ones in the order of `splits`."""
    whole = splits_on(transfer.dataset, device)
    count = max(1, round(transfer.fraction * len(whole.train)))
    if count == len(whole.train):
        return whole
    if transfer.subset == "first_n":
        part = whole.train[:count]
    else:
        rng = generator(transfer.seed, "fraction")
        labels = whole.train.y.cpu()
        # Images of objects have no class that could be balanced over.
        order = balanced(labels if labels.dim() == 1 else labels.new_zeros(len(labels)).long(), rng)
        part = whole.train[order[:count].to(device)]
    return replace(whole, train=part)


def _seen(images: ImageSet, dataset: Dataset) -> ImageSet:
    """Images as the dataset's view and size want them; files see to that while they are read."""
    if not isinstance(images, Images):
        return images
    if dataset.view != "resize":
        return replace(images, crop=dataset.size, view=dataset.view)
    return _sized(images, dataset.size)


def _sized(images: Images, size: int) -> Images:
    if images.x.shape[2:] == (size, size):
        return images
    out = torch.empty((*images.x.shape[:2], size, size), dtype=torch.uint8)
    for part in chunks(len(images), images.x[0].numel()):
        x = F.interpolate(
            images.x[part].to(torch.float32),
            size=(size, size),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )
        out[part] = x.round_().clamp_(0, 255).to(torch.uint8)
    return Images(out, images.y)


def _measured(train: ImageSet) -> Normalisation:
    """Mean and std over all training pixels, channel by channel, from how often each of the 256
    values occurs: exact sums, whatever the number of pixels."""
    assert isinstance(train, Images), "files are normalised by published numbers"
    channels = train.x.shape[1]
    occurs = torch.zeros(channels, 256, dtype=torch.int64)
    for part in chunks(len(train), train.x[0].numel()):
        for channel in range(channels):
            occurs[channel] += train.x[part, channel].flatten().bincount(minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    count = occurs[0].sum()
    mean = (occurs * values).sum(1) / count
    squares = (occurs * (values - mean[:, None]) ** 2).sum(1)
    # A floor keeps constant channels from dividing by zero.
    std = (squares / (count - 1)).sqrt().clamp_min(1e-3)
    return tuple(mean.tolist()), tuple(std.tolist())
