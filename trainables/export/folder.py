"""A network as a folder that others load: weights, mask, settings, card.

format        files                                                   loaded by
safetensors   model.safetensors                                       the network's library
torch         model.pt (a state dict), model.pt2 (a traced program)   torch alone
onnx          model.onnx                                              ONNX Runtime
huggingface   model.safetensors, model.pt2                            as a repository of the hub

Each has config.json, mask.safetensors (what is kept; of a dense network none) and README.md.
"""

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch

from search_spaces.errors import InputError
from search_spaces.networks import library_and_name
from trainables.export import loading
from trainables.export.onnx_file import to_onnx
from trainables.export.removal import without_dead_channels
from trainables.export.taken import Taken
from trainables.models.foreign import arguments
from trainables.store.tensors import to_bytes

Format = Literal["safetensors", "torch", "onnx", "huggingface"]
FORMATS: tuple[Format, ...] = get_args(Format)
_BATCH = 2


@dataclass(frozen=True)
class Written:
    """files: content by name; loads: the lines of Python that load them; needs: what must be
    installed for that; notes: what else is to be known, as why a file could not be written."""

    files: dict[str, bytes]
    loads: str
    needs: str
    notes: list[str]


def smaller(taken: Taken, form: Format, names: Mapping[str, str]) -> Written:
    """The folder of what computes the same without the channels that do nothing: of formats that
    hold the program, since no library builds a network of these sizes. Without a mask, whose
    layers are larger. Raises InputError for another format, and where all channels do something."""
    if form not in ("torch", "onnx"):
        raise InputError(
            f"--format {form}: its layers have sizes of their own: take --format torch or onnx"
        )
    removal = without_dead_channels(taken.net)
    if not removal.channels:
        why = removal.reason or "all its channels do something"
        raise InputError(f"nothing to remove: {why}: leave --remove-channels out")
    left, before = removal.total
    told = {**names, "channels_removed": f"{before - left} of {before}"}
    found = written(replace(taken, net=removal.net), form, told)
    whole = ("mask.safetensors", "model.pt")
    if form == "torch" and "model.pt2" not in found.files:
        raise InputError(f"{found.notes[0]}: leave --remove-channels out")
    files = {name: content for name, content in found.files.items() if name not in whole}
    note = f"without {before - left} of {before} channels, which do nothing"
    return replace(found, files=files, notes=[note])


def written(taken: Taken, form: Format, names: Mapping[str, str]) -> Written:
    """The folder, without its card. names: what the network goes by, for its config.json. Raises
    InputError where a package that a format needs is not installed."""
    files = {"config.json": json.dumps({**names, **config(taken)}, indent=1).encode()}
    if taken.mask:
        files["mask.safetensors"] = to_bytes(taken.mask)
    model, notes = taken.ticket.theta.model, list[str]()
    image = {"channels": taken.shape[0], "size": taken.shape[1]}
    if form == "onnx":
        files["model.onnx"] = to_onnx(taken.net, taken.images(_BATCH))
        return Written(files, loading.ONNX.format(**image), "onnxruntime", notes)
    state = {name: value.contiguous() for name, value in taken.net.state_dict().items()}
    if form == "torch":
        files["model.pt"] = _saved(state)
    else:
        files["model.safetensors"] = to_bytes(state)
    loads, needs = loading.from_state(model, "torch" if form == "torch" else "safetensors"), ""
    if form != "safetensors":
        try:
            files["model.pt2"] = program(taken)
            loads, needs = loading.PROGRAM.format(**image), "torch"
        # torch.export raises anything on what it cannot trace.
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            notes.append(f"model.pt2 is left out: {reason}")
    return Written(files, loads, needs or loading.needs(model), notes)


def config(taken: Taken) -> dict[str, Any]:
    """What a network is and takes, as JSON."""
    model = taken.ticket.theta.model
    library, name = library_and_name(model.arch)
    mean, std = taken.normalisation
    channels, height, width = taken.shape
    kept, total = taken.kept
    classes = taken.splits.classes
    told = {
        "arch": model.arch,
        "name": name,
        "model": model.model_dump(mode="json", exclude_none=True),
        "options": arguments(model, height),
        "classes": classes,
        "image": {"channels": channels, "height": height, "width": width},
        "input": "pixels, float32 in [0, 1], (batch, channels, height, width)",
        "output": "logits, (batch, classes)",
        "mean": mean,
        "std": std,
        "kept_weights": kept,
        "prunable_weights": total,
    }
    if library == "timm":
        # Under these names timm reads it, too.
        shape = {"input_size": [len(mean), height, width], "mean": mean, "std": std}
        told |= {"architecture": name, "num_classes": classes, "pretrained_cfg": shape}
    return told


def program(taken: Taken) -> bytes:
    """A network as torch.export traces it, of any batch: torch alone runs it. Raises whatever
    torch raises where it cannot be traced, ValueError where what is read back answers otherwise."""
    images, file = taken.images(_BATCH), io.BytesIO()
    batch = {0: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(taken.net, (images,), dynamic_shapes=(batch,))
        torch.export.save(exported, file)
        again = torch.export.load(io.BytesIO(file.getvalue())).module()
        more = taken.images(_BATCH + 1)
        if not torch.equal(again(more), taken.net(more)):
            raise ValueError("its answers are not the network's, bit for bit")
    return file.getvalue()


def _saved(state: Mapping[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(dict(state), file)
    return file.getvalue()
