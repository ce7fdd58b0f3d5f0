"""Published weights in: four layouts brought to the names and shapes of one of our networks.

Nothing in a file is ever executed: pickles are read with torch's weights_only, which refuses
whatever is not tensors and plain containers, and `trainables.convert` rewrites what it refuses.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.models import get_model_weights

from search_spaces.errors import InputError
from search_spaces.spec import Checkpoint, Model
from trainables.data.catalogue import file_sha256
from trainables.models import resnets
from trainables.models.resnets import PLANS, plan
from trainables.store.tensors import read

State = dict[str, Tensor]
_CLOSE = 1e-3
Statistics = tuple[float, ...]

# What locuslab's ImageNet training subtracts and divides by, outside the network it saves
# (fast_adversarial, ImageNet/configs).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The entry that holds the parameters, in the order of preference.
HOLDERS = {
    "robustness": ("model", "state_dict"),
    "fast_adversarial": ("state_dict",),
    "state_dict": ("state_dict", "model"),
}


@dataclass(frozen=True)
class Loaded:
    """A network's state, and the normalisation that it was trained with: one number a channel, for
    pixels in [0, 1]; None where the layout does not say."""

    state: State
    mean: Statistics | None = None
    std: Statistics | None = None


def state_for(checkpoint: Checkpoint, model: Model, net: resnets.ResNet) -> State:
    """`load`'s state for a network that normalises as the weights were trained; raises InputError
    also where the file says that they were trained with another normalisation."""
    loaded = load(checkpoint, model, net)
    for word, theirs in (("mean", loaded.mean), ("std", loaded.std)):
        ours = getattr(net, word).flatten().tolist()
        if theirs and max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) > _CLOSE:
            raise InputError(
                f"weights {checkpoint.path or checkpoint.weights}: trained with pixel {word} "
                f"{list(theirs)}, the source normalises with {[round(x, 4) for x in ours]}: "
                "write the weights' own under model.normalisation"
            )
    return loaded.state


def load(checkpoint: Checkpoint, model: Model, net: nn.Module) -> Loaded:
    """Published weights as a state for `net`, which was built for `model` and is left as it is.

    The state has exactly the names and shapes of net.state_dict(); float32 (counts int64),
    contiguous, on the CPU. Raises InputError where the file is missing, is not what its sha256
    says, cannot be read without running code from it, or does not fit the network.
    """
    if checkpoint.format == "torchvision":
        return _torchvision(checkpoint, model, net)
    verify(checkpoint)
    path = _path(checkpoint)
    entries = _entries(_read(path), checkpoint.format, path)
    mean = std = None
    if checkpoint.format == "robustness":
        entries, mean, std = _robustness(entries, path)
    elif checkpoint.format == "fast_adversarial":
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    return Loaded(_fitted(entries, model, net, path.name), mean, std)


def verify(checkpoint: Checkpoint) -> None:
    """Raises InputError if the file is missing, or is not the one that the study's sha256 names;
    torchvision's files have no path: `load` compares them once they are in the cache."""
    if checkpoint.path is not None:
        _verify(_path(checkpoint), checkpoint.sha256)


def _verify(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise InputError(f"no weights file {path}: correct path:, or put the file there")
    if expected is not None and (found := file_sha256(path)) != expected:
        raise InputError(
            f"{path} is not the file that the study means: its sha256 is {found}, the study says "
            f"{expected}; get the right file, or correct sha256:"
        )


def _path(checkpoint: Checkpoint) -> Path:
    return Path(checkpoint.path or "").expanduser()


def named(checkpoint: Checkpoint, model: Model) -> Any:
    """torchvision's entry for the weights that a checkpoint names; nothing is read or fetched.
    Raises InputError where there is none for the network."""
    official = PLANS[model.arch]
    if official.stem != "imagenet" or plan(model) != official:
        archs = ", ".join(arch for arch, each in PLANS.items() if each.stem == "imagenet")
        raise InputError(
            f"torchvision has weights for {archs} with their own width and stem, not for {model}: "
            "choose such a model, or another checkpoint format"
        )
    # By their own names only: what DEFAULT means changes with torchvision.
    known = {weights.name: weights for weights in get_model_weights(model.arch)}
    if checkpoint.weights not in known:
        raise InputError(
            f"no torchvision weights {checkpoint.weights} of {model.arch}, only {', '.join(known)}"
        )
    return known[checkpoint.weights]


def _torchvision(checkpoint: Checkpoint, model: Model, net: nn.Module) -> Loaded:
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
            f"cannot get {weights} ({_line(error)}): expected the file {path.name} in "
            f"{path.parent} (whole); with network, python -m tuner data STUDY fetches it"
        ) from error
    _verify(path, checkpoint.sha256)
    pixels = weights.transforms()
    fitted = _fitted(_entries(state, "state_dict", path), model, net, path.name)
    return Loaded(fitted, tuple(pixels.mean), tuple(pixels.std))


def _read(path: Path) -> object:
    """A file's content. Raises InputError if it is damaged or holds more than plain data."""
    try:
        if path.suffix == ".safetensors":
            return _unflattened(read(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors and plain containers, which is not read because it "
            f"could run code: rewrite it once with python -m trainables.convert {path} "
            f"{path.with_suffix('.safetensors')}, and put that under path:"
        ) from error
    # Damaged files end in all kinds of errors inside torch.
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, SafetensorError) as error:
        raise InputError(
            f"cannot read {path} ({_line(error)}): is it a whole file, written by torch.save or "
            "with the ending .safetensors?"
        ) from error


def _unflattened(tensors: State) -> dict[str, object]:
    """safetensors knows no nesting: entries named model.X and state_dict.X are put back into a
    dict `model` or `state_dict` of entries X, as trainables.convert found them."""
    content: dict[str, object] = dict(tensors)
    for holder in ("model.", "state_dict."):
        inside = {name: content.pop(name) for name in tensors if name.startswith(holder)}
        if inside:
            content[holder[:-1]] = {n.removeprefix(holder): value for n, value in inside.items()}
    return content


def _entries(content: object, layout: str, path: Path) -> State:
    """The parameters in a file's content by name, without a parallel wrapper's prefix."""
    holders = HOLDERS[layout]
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}, not entries by name")
    held = next((content[key] for key in holders if isinstance(content.get(key), Mapping)), None)
    if held is None:
        if layout != "state_dict":
            raise _other_format(path, layout, holders, content)
        held = content
    entries = {str(name): value for name, value in held.items()}
    odd = [name for name, value in entries.items() if not isinstance(value, Tensor)]
    if odd or not entries:
        raise InputError(
            f"{path} has entries that are no tensors ({_some(odd)}), or none: choose another format"
        )
    return {name.removeprefix("module."): value for name, value in entries.items()}


def _robustness(entries: State, path: Path) -> tuple[State, Statistics | None, Statistics | None]:
    """(parameters, mean, std). The network may be there twice, once as the attacker's: the same."""
    for prefix, beside in (("model.", "normalizer."), ("attacker.model.", "attacker.normalize.")):
        inside = {n.removeprefix(prefix): v for n, v in entries.items() if n.startswith(prefix)}
        if inside:
            mean, std = (_numbers(entries.get(f"{beside}new_{part}")) for part in ("mean", "std"))
            return inside, mean, std
    raise _other_format(path, "robustness", ("module.model.*", "module.attacker.model.*"), entries)


def _numbers(value: Tensor | None) -> Statistics | None:
    return None if value is None else tuple(value.flatten().tolist())


def _renamed(name: str) -> str:
    """Our name for an entry: the CIFAR networks of akamaster, kuangliu and MadryLab call the head
    `linear` and a projection `shortcut`."""
    if name.startswith("linear."):
        return "fc." + name.removeprefix("linear.")
    return name.replace(".shortcut.", ".downsample.")


def _fitted(entries: State, model: Model, net: nn.Module, file: str) -> State:
    """The entries under the network's names. Raises InputError if any does not fit."""
    ours = net.state_dict()
    kept = {name for name in entries if name in ours or _renamed(name) in entries}
    theirs = {n if n in kept else _renamed(n): value for n, value in entries.items()}
    for name, value in ours.items():
        # PyTorch before 0.4.1 did not count batches; nothing but a momentum of None reads it.
        if name.endswith(".num_batches_tracked"):
            theirs.setdefault(name, torch.zeros_like(value))
    missing = [name for name in ours if name not in theirs]
    unexpected = [name for name in theirs if name not in ours]
    reshaped = [name for name in ours if name in theirs and ours[name].shape != theirs[name].shape]
    if missing or unexpected or reshaped:
        first = "; ".join(
            f"{name} ours {_shape(ours.get(name))} theirs {_shape(theirs.get(name))}"
            for name in (missing + unexpected + reshaped)[:3]
        )
        raise InputError(
            f"{file} does not fit {model.arch}: {len(missing)} missing, {len(unexpected)} "
            f"unexpected and {len(reshaped)} wrongly shaped entries ({first}): choose a model "
            "(arch, width, stem) that fits, on a source dataset with as many classes"
        )
    return {n: theirs[n].detach().to("cpu", own.dtype).contiguous() for n, own in ours.items()}


def _other_format(
    path: Path, layout: str, lacks: tuple[str, ...], has: Mapping[Any, Any]
) -> InputError:
    return InputError(
        f"{path} has no {' or '.join(lacks)}, so it is not of format {layout} (it has "
        f"{_some(has)}): choose another format"
    )


def _shape(value: Tensor | None) -> str:
    return "none" if value is None else str(tuple(value.shape))


def _some(names: Mapping[Any, Any] | list[str]) -> str:
    """The first few names, for a message."""
    first = ", ".join(str(name)[:60] for name in list(names)[:3])
    return first + (", ..." if len(names) > 3 else "")


def _line(error: BaseException) -> str:
    """An error's first line, without what torch appends for developers."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
