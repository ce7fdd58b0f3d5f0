"""The lines of Python that load an exported folder, from its working directory, as `net`: pixels in
[0, 1], (batch, channels, height, width), to logits (batch, classes)."""

from search_spaces.networks import LIBRARIES, Model, is_users, library_and_name

PROGRAM = """\
import torch

# A traced program: nothing of the code that made it is needed.
net = torch.export.load("model.pt2").module()
logits = net(torch.rand(2, {channels}, {size}, {size}))
"""
ONNX = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
pixels = np.random.rand(2, {channels}, {size}, {size}).astype("float32")
(logits,) = session.run(["logits"], {{"pixels": pixels}})
"""
_STATE = {
    "safetensors": "from safetensors.torch import load_file\n\n"
    'state = load_file("model.safetensors")',
    "torch": 'state = torch.load("model.pt", weights_only=True)',
}
_LIBRARY = """\
import json
import torch
import {library}
{state}
config = json.load(open("config.json"))
body = {maker}(config["name"], {untrained}, num_classes=config["classes"], **config["options"])
body.load_state_dict(state)
body.eval()
mean, std = (torch.tensor(config[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
net = lambda pixels: body((pixels - mean) / std)
"""
_OURS = """\
import json
import torch
from search_spaces.networks import Model
from trainables.models.networks import build
{state}
config = json.load(open("config.json"))
model, size = Model.model_validate(config["model"]), config["image"]["height"]
net = build(model, config["classes"], config["mean"], config["std"], seed=0, size=size)
net.load_state_dict(state)
net.eval()
"""
_MAKERS = {
    "torchvision": ("torchvision.models.get_model", "weights=None"),
    "timm": ("timm.create_model", "pretrained=False"),
}


def from_state(model: Model, file: str) -> str:
    """For a file of weights, safetensors or torch: with the library that the network is of, or,
    where it is of none, with this project."""
    library, _ = library_and_name(model.arch)
    if library in LIBRARIES and not model.head:
        maker, untrained = _MAKERS[library]
        return _LIBRARY.format(
            library=library, state=_STATE[file], maker=maker, untrained=untrained
        )
    return _OURS.format(state=_STATE[file])


def needs(model: Model) -> str:
    """What must be installed where weights are loaded."""
    library, _ = library_and_name(model.arch)
    if library in LIBRARIES and not model.head:
        return f"torch and {library}"
    if is_users(model.arch):
        module = model.arch.partition(":")[0]
        return f"double-win-tickets, and the module {module} that makes the network"
    return "double-win-tickets"
