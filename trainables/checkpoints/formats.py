"""Published weights in: any layout brought to the names and shapes of one of our networks.

Nothing in a file is ever executed: pickles are read with torch's weights_only, which refuses
whatever is not tensors and plain containers, and the converter rewrites what it refuses.
A format says how the weights' pixels were normalised; how a file nests and names its network is
found out in every format alike (states.py).
"""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn
from torchvision.models import get_model_weights

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint, Model, library_and_name
from trainables.checkpoints import files, published
from trainables.checkpoints.contents import flattened
from trainables.checkpoints.states import Network, State, behind, network
from trainables.data.catalogue import file_sha256
from trainables.models.normalisation import statistics
from trainables.models.resnets import PLANS, plan

_CLOSE = 1e-3

# What locuslab's ImageNet training subtracts and divides by, outside the network it saves
# (fast_adversarial, ImageNet/configs).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def state_for(checkpoint: Checkpoint, model: Model, net: nn.Module) -> State:
    """`load`'s state for a network that normalises as the weights were trained; raises InputError
    also where the file says that they were trained with another normalisation."""
    loaded = load(checkpoint, model, net)
    mean, std = statistics(net)
    for word, ours, theirs in (("mean", mean, loaded.mean), ("std", std, loaded.std)):
        each = theirs * len(ours) if theirs and len(theirs) == 1 else theirs
        if each and max(abs(a - b) for a, b in zip(ours, each, strict=True)) > _CLOSE:
            raise InputError(
                f"weights {checkpoint.path or checkpoint.weights}: trained with pixel {word} "
                f"{list(each)}, the source normalises with {[round(x, 4) for x in ours]}: "
                "write the weights' own under model.normalisation"
            )
    return loaded.state


def load(checkpoint: Checkpoint, model: Model, net: nn.Module) -> Network:
    """Published weights as a state for `net`, which was built for `model` and is left as it is.

    The state has exactly the names and shapes of net.state_dict(); float32 (counts int64),
    contiguous, on the CPU. Its mean and std are the normaliser's in the file, else the format's.
    Raises InputError where the file is missing, is not what its sha256 says, cannot be read without
    running code from it, does not fit the network, or has values that cannot be trained from.
    """
    if checkpoint.format == "torchvision":
        return _torchvision(checkpoint, model, net)
    verify(checkpoint)
    path = _path(checkpoint)
    try:
        tensors = files.tensors(path)
        if only := checkpoint.only:
            tensors = {name: value for name, value in tensors.items() if behind(only, name)}
            if not tensors:
                raise InputError(f"it has no tensors behind {only}: correct only:")
        loaded = network(tensors, net.state_dict())
    except InputError as error:
        raise InputError(f"weights {path} for {model.arch}: {error}") from error
    if checkpoint.format == "timm":
        known = published.configuration(checkpoint, model)
        return replace(loaded, mean=tuple(known.mean), std=tuple(known.std))
    if checkpoint.format == "fast_adversarial" and loaded.mean is None:
        return replace(loaded, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return loaded


def verify(checkpoint: Checkpoint) -> None:
    """Raises InputError if the file is missing, or is not the one that the study's sha256 names;
    torchvision's files have no path: `load` compares them once they are in the cache."""
    if checkpoint.path is not None:
        _verify(_path(checkpoint), checkpoint.sha256)


def _verify(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise InputError(f"no weights file {path}: correct path:, or put the file there")
    if expected is not None and (sha256 := file_sha256(path)) != expected:
        raise InputError(
            f"{path} is not the file that the study means: its sha256 is {sha256}, the study says "
            f"{expected}; get the right file, or correct sha256:"
        )


def _path(checkpoint: Checkpoint) -> Path:
    return Path(checkpoint.path or "").expanduser()


def named(checkpoint: Checkpoint, model: Model) -> Any:
    """torchvision's entry for the weights that a checkpoint names; nothing is read or fetched.
    Raises InputError where there is none for the network."""
    library, name = library_and_name(model.arch)
    official = PLANS.get(model.arch)
    as_published = official and official.stem == "imagenet" and plan(model) == official
    if library != "torchvision" and not as_published:
        archs = ", ".join(arch for arch, each in PLANS.items() if each.stem == "imagenet")
        raise InputError(
            f"torchvision has weights for {archs} with their own width and stem and for "
            f"torchvision:NAME, not for {model.arch} (width {model.width}, stem {model.stem}): "
            "choose such a model, or another checkpoint format"
        )
    # By their own names only: what DEFAULT means changes with torchvision.
    known = {weights.name: weights for weights in get_model_weights(name)}
    if checkpoint.weights not in known:
        raise InputError(
            f"no torchvision weights {checkpoint.weights} of {model.arch}, only {', '.join(known)}"
        )
    return known[checkpoint.weights]


def _torchvision(checkpoint: Checkpoint, model: Model, net: nn.Module) -> Network:
    """torchvision's weights by name, from its cache or else from the network."""
    weights = named(checkpoint, model)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        # The hash is torchvision's own, in the file's name; it is compared after a download.
        state = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            f"cannot get {weights} ({files.first_line(error)}): expected the file {path.name} in "
            f"{path.parent} (whole); with network, python -m tuner data STUDY fetches it"
        ) from error
    _verify(path, checkpoint.sha256)
    pixels = weights.transforms()
    try:
        loaded = network(flattened(state)[0], net.state_dict())
    except InputError as error:
        raise InputError(f"{weights} for {model.arch}: {error}") from error
    return replace(loaded, mean=tuple(pixels.mean), std=tuple(pixels.std))
