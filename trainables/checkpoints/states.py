"""The one network among a file's tensors that fits ours: under our names, with values to train on.

Files nest and name a network in many ways: in a holder (`state_dict`, `net`, `ema` ...), behind
wrappers' names (`module.`, `_orig_mod.`, `model.` ...), in any mix. Our names always stand at the
end of theirs, so a network is a prefix behind which all of our names are found.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.errors import InputError

State = dict[str, Tensor]
Statistics = tuple[float, ...]

# Parts of names that wrappers put in, anywhere: DataParallel and DDP, torch.compile, FSDP,
# activation checkpointing.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# robustness saves its network twice, once as the attacker's: the same.
ATTACKER = "attacker"
# What torch.optim.swa_utils.AveragedModel adds to a state.
COUNTS = {"n_averaged"}
MEANS = {"mean": "std", "new_mean": "new_std", "mu": "sigma", "pixel_mean": "pixel_std"}

# Entries that no plain network has: what they come from, and what to do about it.
_UNMERGED = (
    (
        r"(_packed_params.*|zero_point|\.scale|qweight|SCB|absmax)$",
        "these are quantised weights: take the float weights from before quantisation",
    ),
    (
        r"parametrizations\.",
        "its weights are parametrised: save it after "
        "torch.nn.utils.parametrize.remove_parametrizations",
    ),
    (
        r"weight_[guv]$",
        "its weights are normalised by their own length: save it after "
        "torch.nn.utils.remove_weight_norm or remove_spectral_norm",
    ),
    (
        r"_(orig|mask)$",
        "it is a pruned network without all of its masks: save it after "
        "torch.nn.utils.prune.remove",
    ),
)


@dataclass(frozen=True)
class Network:
    """A network's state under our names, and the mean and std of the normaliser that the file has
    beside it, if any: a number for each channel, for pixels in [0, 1]."""

    state: State
    mean: Statistics | None
    std: Statistics | None


def network(tensors: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> Network:
    """The network in a file's tensors (by dotted name) that fits `ours`, a state_dict.

    The state has exactly our names, shapes and types. Weights under torch.nn.utils.prune come with
    their masks applied; what else is in the file is left. Raises InputError, with what to do, where
    no network fits, where several with different values do, or where its values are none to train
    from.
    """
    entries = _pruned(_unwrapped(tensors, ours))
    prefix = _prefix(entries, ours)
    normaliser = _normaliser(entries, prefix, ours)
    mean, std = (_numbers(entries[name]) for name in normaliser) if normaliser else (None, None)
    state = {
        name.removeprefix(prefix): value
        for name, value in entries.items()
        if name.startswith(prefix) and name not in normaliser
    }
    return Network(_fitted(state, ours), mean, std)


def zeros(state: Mapping[str, Tensor], prunable: Collection[str]) -> float:
    """The share of a state's prunable weights, given by name, that are zero, in [0, 1]."""
    weights = [state[name] for name in prunable]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def without_wrappers(name: str, own: Collection[str] = ()) -> str:
    """A name without the parts that wrappers put into it, but for those that are our `own`."""
    return ".".join(part for part in name.split(".") if part in own or part not in WRAPPERS)


def behind(prefix: str, name: str) -> bool:
    """Does an entry stand behind a prefix, as it is written or without wrappers' parts?"""
    start = prefix.rstrip(".") + "."
    return name.startswith(start) or without_wrappers(name).startswith(start)


def _unwrapped(tensors: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> State:
    own = {part for name in ours for part in name.split(".")}
    entries: State = {}
    for name, value in tensors.items():
        short = without_wrappers(name, own)
        if short in entries and not torch.equal(entries[short], value):
            raise InputError(
                f"it holds {short} twice, with and without a wrapper's name: keep one network of "
                "it with trainables.checkpoints.convert --only PREFIX"
            )
        entries[short] = value
    return entries


def _pruned(entries: State) -> State:
    """X_orig and X_mask, as torch.nn.utils.prune writes them, become X."""
    masks = {n: n.removesuffix("_mask") for n in entries if n.endswith("_mask")}
    masks = {mask: name for mask, name in masks.items() if f"{name}_orig" in entries}
    gone = {*masks, *(f"{name}_orig" for name in masks.values())}
    kept = {name: value for name, value in entries.items() if name not in gone}
    return kept | {n: entries[f"{n}_orig"] * entries[mask] for mask, n in masks.items()}


def _prefix(entries: State, ours: Mapping[str, Tensor]) -> str:
    """What stands before our names: "" or ends with a dot. Where no network is complete, the
    prefix of the one that comes nearest."""
    needed = {name for name in ours if not name.endswith("num_batches_tracked")}
    there: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, value in entries.items():
        for prefix, rest in _partings(name):
            if (own := rest if rest in needed else _renamed(rest)) in needed:
                there[prefix][own] = value
    complete = [prefix for prefix in there if there[prefix].keys() == needed]
    fitting = [p for p in complete if all(there[p][n].shape == ours[n].shape for n in needed)]
    candidates = fitting or complete
    plain = [prefix for prefix in candidates if ATTACKER not in prefix.split(".")]
    candidates = plain or candidates
    if not candidates:
        return max(there, key=lambda prefix: (len(there[prefix]), -len(prefix)), default="")
    first, *others = candidates
    for other in others:
        if not all(torch.equal(there[first][n], there[other][n]) for n in needed):
            names = " and ".join(prefix.rstrip(".") or "the top level" for prefix in candidates)
            last = (other or first).rstrip(".")
            raise InputError(
                f"it holds several networks that fit ({names}): keep the one that is meant, as "
                f"with python -m trainables.checkpoints.convert FILE OUT.safetensors --only {last}"
            )
    return first


def _partings(name: str) -> Iterator[tuple[str, str]]:
    """(prefix with its dot, rest) for every dot of a name."""
    yield "", name
    for match in re.finditer(r"\.", name):
        yield name[: match.end()], name[match.end() :]


def _normaliser(entries: State, prefix: str, ours: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The names of the mean and std of a normalising layer in or beside the network; () if none."""
    parent = re.sub(r"[^.]+\.$", "", prefix)
    pairs = []
    for name, value in entries.items():
        stem, _, last = name.rpartition(".")
        mate = f"{stem}.{MEANS[last]}".removeprefix(".") if last in MEANS else None
        if mate not in entries or not name.startswith(parent) or name.removeprefix(prefix) in ours:
            continue
        beside_attacker = ATTACKER in name.split(".") and ATTACKER not in prefix.split(".")
        if value.numel() in (1, 3) and entries[mate].shape == value.shape and not beside_attacker:
            pairs.append((name, mate))
    different = {tuple(map(_numbers, (entries[name], entries[mate]))) for name, mate in pairs}
    if len(different) > 1:
        raise InputError(f"it normalises pixels in {len(different)} ways: keep one network of it")
    return tuple(name for pair in pairs for name in pair)


def _numbers(value: Tensor) -> Statistics:
    return tuple(value.flatten().tolist())


def _renamed(name: str) -> str:
    """Our name for an entry: the CIFAR networks of akamaster, kuangliu and MadryLab call the head
    `linear` and a projection `shortcut`."""
    if name.startswith("linear."):
        return "fc." + name.removeprefix("linear.")
    return name.replace(".shortcut.", ".downsample.")


def _fitted(entries: State, ours: Mapping[str, Tensor]) -> State:
    """The entries under the network's names. Raises InputError if any does not fit."""
    kept = {name for name in entries if name in ours or _renamed(name) in entries}
    theirs = {n if n in kept else _renamed(n): value for n, value in entries.items()}
    for name, value in ours.items():
        # PyTorch before 0.4.1 did not count batches; nothing but a momentum of None reads it.
        if name.endswith("num_batches_tracked"):
            theirs.setdefault(name, torch.zeros_like(value))
    missing = [name for name in ours if name not in theirs]
    unexpected = [n for n in theirs if n not in ours and n not in COUNTS and not _unused(n)]
    reshaped = [name for name in ours if name in theirs and ours[name].shape != theirs[name].shape]
    if missing or unexpected or reshaped:
        first = "; ".join(
            f"{name} ours {_shape(ours.get(name))} theirs {_shape(theirs.get(name))}"
            for name in (missing + unexpected + reshaped)[:3]
        )
        raise InputError(
            f"it does not fit: {len(missing)} missing, {len(unexpected)} unexpected and "
            f"{len(reshaped)} wrongly shaped entries ({first}): "
            f"{_remedy(unexpected, [(ours[n], theirs[n]) for n in reshaped])}"
        )
    return {name: _value(name, theirs[name], own) for name, own in ours.items()}


def _unused(name: str) -> bool:
    """The wide ResNets of TRADES and those after it hold a stage that no forward pass uses."""
    return name.startswith("sub_block1.")


def _remedy(unexpected: list[str], reshaped: list[tuple[Tensor, Tensor]]) -> str:
    for pattern, what in _UNMERGED:
        if any(re.search(pattern, name) for name in unexpected):
            return what
    ratios = {len(theirs) / len(ours) for ours, theirs in reshaped if ours.dim() == 4}
    if len(ratios) > 1 and max(ratios) <= 1:
        return "its channels are pruned away unevenly: take the network from before that"
    return "choose a model (arch, width, stem) that fits, on a source dataset with as many classes"


def _value(name: str, theirs: Tensor, own: Tensor) -> Tensor:
    """An entry as its network computes with it. Raises InputError for values that mean nothing."""
    if own.is_floating_point() and (not theirs.is_floating_point() or theirs.itemsize < 2):
        raise InputError(
            f"{name} holds {str(theirs.dtype).removeprefix('torch.')}, as quantised weights do: "
            "take the float weights from before quantisation"
        )
    value = theirs.to(own.dtype).contiguous()
    wrong = int((~torch.isfinite(value) | ~torch.isfinite(theirs)).sum())
    if wrong:
        raise InputError(
            f"{wrong} of {value.numel()} values of {name} are not finite: take the weights from "
            "before the training diverged"
        )
    if name.endswith("running_var") and bool((value < 0).any()):
        raise InputError(
            f"{name} has negative variances: average weights only, and estimate the statistics "
            "again (torch.optim.swa_utils.update_bn)"
        )
    return value


def _shape(value: Tensor | None) -> str:
    return "none" if value is None else str(tuple(value.shape))
