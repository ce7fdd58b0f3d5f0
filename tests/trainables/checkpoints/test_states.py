"""A network is found however a file nests, names and stores it; what is no network to train from is
refused, naming what it is."""

import argparse
import gzip
import shlex
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint
from search_spaces.spec import Model
from tests.trainables.checkpoints.test_formats import network, prefixed
from trainables.checkpoints import formats
from trainables.checkpoints.convert import main
from trainables.checkpoints.states import zeros
from trainables.models import networks
from trainables.models.anatomy import prunable

CIFAR = Model(arch="resnet20", width=4)
WAYS = pytest.mark.parametrize("way", ["as it is", "legacy", "converted"])
FORMATS = ["robustness", "fast_adversarial", "state_dict"]


@pytest.fixture
def net():
    return network(CIFAR)


def state_of(content, folder, way="as it is", layout="state_dict"):
    """What a file with this content is read as."""
    path = folder / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=way != "legacy")
    if way == "converted":
        target = folder / "weights.safetensors"
        assert main([str(path), str(target), "--drop"]) == 0
        path = target
    return read(path, layout)


def read(path, layout="state_dict"):
    blank = networks.build(CIFAR, 10, [0.5] * 3, [0.2] * 3, seed=9)
    return formats.load(Checkpoint(format=layout, path=str(path)), CIFAR, blank)


def assert_same(loaded, net):
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state[name], value), name


@WAYS
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.", "model.net.module."],
)
@pytest.mark.parametrize("holder", [None, "net", "state_dict_ema", "model_state_dict"])
def test_one_network_behind_any_names(prefix, holder, layout, way, net, tmp_path):
    state = prefixed(net.state_dict(), prefix)
    content = {holder: state, "acc": 91.7, "epoch": 199} if holder else state
    assert_same(state_of(content, tmp_path, way, layout), net)


def test_wrappers_inside_a_network(net, tmp_path):
    state = OrderedDict(
        (name.replace("layer1.", "layer1._orig_mod.").replace("layer2.", "layer2.module."), value)
        for name, value in net.state_dict().items()
    )
    assert_same(state_of(state, tmp_path), net)


@WAYS
def test_an_averaged_model(way, net, tmp_path):
    averaged = AveragedModel(net)
    averaged.update_parameters(net)
    state = averaged.state_dict()
    assert {name.split(".")[0] for name in state} == {"module", "n_averaged"}
    assert_same(state_of(state, tmp_path, way), net)


def test_two_networks_need_a_word(net, tmp_path, capsys):
    other = network(CIFAR, seed=1)
    content = {"state_dict": net.state_dict(), "ema": prefixed(other.state_dict(), "module.")}
    with pytest.raises(InputError) as caught:
        state_of(content, tmp_path)
    # The remedy works as it is written.
    words = shlex.split(str(caught.value).partition("python -m trainables.checkpoints.convert ")[2])
    paths = [str(tmp_path / "weights.pth"), str(tmp_path / "one.safetensors")]
    assert main([*paths, *words[2:]]) == 0
    assert_same(read(tmp_path / "one.safetensors"), other)
    assert main([*paths, "--only", "state_dict"]) == 0
    assert_same(read(tmp_path / "one.safetensors"), net)
    assert main([*paths, "--only", "nobody"]) == 2


def test_the_same_network_twice_has_one_meaning(net, tmp_path):
    again = {name: value.clone() for name, value in net.state_dict().items()}
    assert_same(state_of({"state_dict": net.state_dict(), "best": again}, tmp_path), net)


@pytest.mark.parametrize("layout", FORMATS)
def test_a_normalising_layer_before_the_network_is_read(layout, net, tmp_path):
    state = prefixed(net.state_dict(), "1.")
    state |= {"0.mean": torch.tensor([0.1, 0.2, 0.3]), "0.std": torch.tensor([0.4, 0.5, 0.6])}
    loaded = state_of(state, tmp_path, layout=layout)
    assert_same(loaded, net)
    assert loaded.mean == pytest.approx((0.1, 0.2, 0.3))
    assert loaded.std == pytest.approx((0.4, 0.5, 0.6))


@WAYS
def test_pruned_weights_come_with_their_masks(way, net, tmp_path):
    net.to(memory_format=torch.contiguous_format)  # prune takes no other
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Conv2d) and name != "conv1":
            prune.random_unstructured(module, "weight", amount=0.8)
    assert "layer1.0.conv1.weight_mask" in net.state_dict()
    loaded = state_of(net.state_dict(), tmp_path, way)
    for module in net.modules():
        if prune.is_pruned(module) and isinstance(module, nn.Conv2d):
            prune.remove(module, "weight")
    assert_same(loaded, net)
    assert 0.75 < zeros(loaded.state, prunable(net)) < 0.8


@pytest.mark.filterwarnings("ignore")
@WAYS
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_tensors_become_dense(way, layout, net, tmp_path):
    state = net.state_dict()
    name = "layer1.0.conv1.weight" if layout == torch.sparse_coo else "fc.weight"
    with torch.no_grad():
        state[name].masked_fill_(torch.rand(state[name].shape) < 0.5, 0)
    sparse = state[name].to_sparse(layout=layout)
    assert_same(state_of({**state, name: sparse}, tmp_path, way), net)


def test_values_beside_the_weights_need_no_converter(net, tmp_path):
    content = {"state_dict": net.state_dict(), "args": argparse.Namespace(lr=0.1, w=torch.ones(1))}
    assert_same(state_of(content, tmp_path), net)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_network_pickled_as_a_whole_is_taken_apart_without_its_class(zipped, net, tmp_path):
    path, target = tmp_path / "whole.pth", tmp_path / "whole.safetensors"
    torch.save({"net": nn.DataParallel(net)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="--drop"):
        read(path)
    assert main([str(path), str(target)]) == 2
    assert main([str(path), str(target), "--drop"]) == 0
    assert_same(read(target), net)


class Attributes(dict):
    """As Lightning's AttributeDict: a subclass of dict, with items."""


@pytest.mark.parametrize("protocol", [2, 4])
def test_subclasses_of_dict_and_later_protocols_are_taken_apart(protocol, net, tmp_path):
    path, target = tmp_path / "in.ckpt", tmp_path / "out.safetensors"
    content = {"state_dict": prefixed(net.state_dict(), "model."), "hyper": Attributes(lr=0.1)}
    torch.save(content, path, pickle_protocol=protocol)
    assert main([str(path), str(target), "--drop"]) == 0
    assert_same(read(target), net)


def changed(net, name, value):
    state = {n: v.clone() for n, v in net.state_dict().items()}
    state[name][(0,) * state[name].dim()] = value
    return state


@WAYS
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer1.0.bn1.running_var", float("nan")),
        ("layer1.0.bn1.running_var", -1e-3),
        ("layer1.0.bn1.running_mean", float("inf")),
        ("conv1.weight", float("nan")),
        ("fc.bias", float("-inf")),
    ],
)
def test_values_that_mean_nothing_are_refused(name, value, way, net, tmp_path):
    with pytest.raises(InputError, match=name):
        state_of(changed(net, name, value), tmp_path, way)


def test_values_beyond_float32_are_refused(net, tmp_path):
    state = {**net.state_dict(), "fc.bias": torch.full((10,), 1e300, dtype=torch.float64)}
    with pytest.raises(InputError, match=r"fc\.bias"):
        state_of(state, tmp_path)


QUANTISED = {
    "int8": lambda w: (w * 127).round().to(torch.int8),
    "int64": lambda w: w.long(),
    "bool": lambda w: w > 0,
    "complex": lambda w: w.to(torch.complex64),
    "float8": lambda w: w.to(torch.float8_e4m3fn),
    "qint8": lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", list(QUANTISED))
def test_quantised_weights_are_named(kind, net, tmp_path):
    state = {**net.state_dict(), "conv1.weight": QUANTISED[kind](net.conv1.weight.detach())}
    with pytest.raises(InputError, match=r"conv1\.weight.*quantis"):
        state_of(state, tmp_path)


@pytest.mark.parametrize(
    ("parametrise", "remedy"),
    [
        (parametrizations.weight_norm, "remove_parametrizations"),
        (parametrizations.orthogonal, "remove_parametrizations"),
        (nn.utils.weight_norm, "remove_weight_norm"),
        (nn.utils.spectral_norm, "remove_spectral_norm"),
    ],
)
def test_parametrised_weights_name_the_remedy(parametrise, remedy, net, tmp_path):
    parametrise(net.layer1[0].conv1)
    with pytest.raises(InputError, match=remedy):
        state_of(net.state_dict(), tmp_path)


def test_a_mask_without_its_weights_is_a_pruned_network(net, tmp_path):
    state = net.state_dict()
    state["conv1.weight_orig"] = state.pop("conv1.weight")
    with pytest.raises(InputError, match="pruned"):
        state_of(state, tmp_path)


def test_channels_pruned_away_are_named(net, tmp_path):
    state = net.state_dict()
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:3]
    state["layer2.0.conv1.weight"] = state["layer2.0.conv1.weight"][:5]
    with pytest.raises(InputError, match="channels are pruned"):
        state_of(state, tmp_path)


MISTAKEN = {
    "HTML": b"<!DOCTYPE html><html>Virus scan warning</html>",
    "HTML page": b"\n <html><head>",
    "LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
    "annex": b"/annex/objects/SHA256E-s1--0\n",
    "text": b'{"message": "Not Found"}',
    "empty": b"",
    "gzip": gzip.compress(b"weights"),
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "cut off": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("what", list(MISTAKEN))
def test_other_files_are_named(what, suffix, tmp_path, capsys):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(MISTAKEN[what])
    with pytest.raises(InputError, match=what) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert main([str(path), str(tmp_path / "out.safetensors"), "--drop"]) == 2
    assert what in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_program_is_named_with_a_remedy_that_works(net, tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(net.eval(), torch.zeros(1, 3, 32, 32)), path)
    with pytest.raises(InputError, match="TorchScript"):
        read(path)
    assert_same(state_of(torch.jit.load(path).state_dict(), tmp_path), net)


def test_a_file_is_what_it_holds_not_what_it_is_called(net, tmp_path):
    path = tmp_path / "weights.pth"
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path)
    assert_same(read(path), net)
    torch.save(net.state_dict(), tmp_path / "weights.safetensors")
    assert_same(read(tmp_path / "weights.safetensors"), net)
