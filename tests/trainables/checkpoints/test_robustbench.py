"""Layouts of the networks on RobustBench: made here under their published names, and read back."""

import pytest
import torch

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint, Model
from trainables.checkpoints import formats
from trainables.models import networks

NETS = [Model(arch="wrn-10-1"), Model(arch="preactresnet18", width=4)]
RGB = ([0.5] * 3, [0.25] * 3)


def net(model, seed=0):
    return networks.build(model, 10, *RGB, seed)


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def trades(state):
    """WideResNet.__init__ makes a stage that its forward pass leaves out."""
    return state | {f"sub_{n}": v + 1 for n, v in state.items() if n.startswith("block1.")}


LAYOUTS = {
    "plain": lambda state: state,
    "DataParallel": lambda state: {"state_dict": prefixed(state, "module.")},
    "compiled": lambda state: {"net": prefixed(state, "_orig_mod.module.")},
    "half": lambda state: {n: v.half() if v.is_floating_point() else v for n, v in state.items()},
    "with a stage unused": lambda state: {"state_dict": prefixed(trades(state), "module.0.")},
    "behind its normaliser": lambda state: {
        "0.mean": torch.tensor(RGB[0]),
        "0.std": torch.tensor(RGB[1]),
        **prefixed(state, "1."),
    },
}


@pytest.mark.parametrize("model", NETS, ids=lambda model: model.arch)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads(model, layout, tmp_path):
    theirs, ours = net(model), net(model, seed=1)
    torch.save(LAYOUTS[layout](theirs.state_dict()), tmp_path / "net.pt")
    checkpoint = Checkpoint(format="state_dict", path=str(tmp_path / "net.pt"))
    state = formats.state_for(checkpoint, model, ours)
    for name, value in theirs.state_dict().items():
        exact = value.half().float() if layout == "half" and value.is_floating_point() else value
        assert torch.equal(state[name], exact), name


def test_of_two_networks_the_one_that_is_meant_is_taken(tmp_path):
    averaged, last = net(NETS[0]), net(NETS[0], seed=1)
    content = {"model": last.state_dict(), "ema": prefixed(averaged.state_dict(), "module.")}
    torch.save(content, tmp_path / "net.pt")
    load = Checkpoint(format="state_dict", path=str(tmp_path / "net.pt"))
    with pytest.raises(InputError, match="several networks"):
        formats.load(load, NETS[0], net(NETS[0]))
    for only, wanted in (("ema", averaged), ("model", last)):
        chosen = load.model_copy(update={"only": only})
        state = formats.load(chosen, NETS[0], net(NETS[0])).state
        assert torch.equal(state["fc.weight"], wanted.state_dict()["fc.weight"])
    with pytest.raises(InputError, match="no tensors behind gone"):
        formats.load(load.model_copy(update={"only": "gone"}), NETS[0], net(NETS[0]))
