"""Published weights in every layout come out as written; what does not fit is refused."""

import hashlib
import urllib.error
import urllib.request

import pytest
import torch
from safetensors.torch import save_file

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint
from search_spaces.spec import Model
from trainables.checkpoints import formats
from trainables.data.catalogue import file_sha256
from trainables.models import networks

RGB = ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
CIFAR = Model(arch="resnet20", width=4)
IMAGENET = Model(arch="resnet18", width=4)


def network(model, classes=10, seed=0):
    net = networks.build(model, classes, *RGB, seed)
    for name, value in net.named_buffers():
        if "running" in name:  # not the values that a network starts with
            value.add_(torch.rand(value.shape, generator=torch.Generator().manual_seed(seed)))
        if "tracked" in name:
            value.fill_(7)
    return net


def saved(content, folder, name="weights.pt"):
    path = folder / name
    torch.save(content, path)
    return path


def load(layout, path, model, classes=10, **more):
    net = networks.build(model, classes, *RGB, seed=9)
    checkpoint = Checkpoint(format=layout, path=str(path), **more)
    loaded = formats.load(checkpoint, model, net)
    net.load_state_dict(loaded.state)
    return loaded


def refusal(*args, **more):
    with pytest.raises(InputError) as caught:
        load(*args, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_same(state, net):
    assert list(state) == list(net.state_dict())
    for name, value in net.state_dict().items():
        assert torch.equal(state[name], value), name
        assert state[name].dtype == value.dtype
        assert state[name].is_contiguous()


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def robustness_file(state):
    """As MadryLab's: the network, the same inside its attacker, and both normalisers."""
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    wrapped = {
        "module.normalizer.new_mean": mean[:, None, None],
        "module.normalizer.new_std": std[:, None, None],
        **prefixed(state, "module.model."),
        "module.attacker.normalize.new_mean": mean[:, None, None] + 1,
        "module.attacker.normalize.new_std": std[:, None, None] + 1,
        **{f"module.attacker.model.{name}": value + 1 for name, value in state.items()},
    }
    return {"model": wrapped, "epoch": 90}


@pytest.mark.parametrize("holder", ["model", "state_dict"])
def test_robustness_takes_the_network_and_its_normaliser(holder, tmp_path):
    net = network(IMAGENET)
    content = robustness_file(net.state_dict())
    loaded = load("robustness", saved({holder: content["model"]}, tmp_path), IMAGENET)
    assert_same(loaded.state, net)
    assert loaded.mean == pytest.approx((0.1, 0.2, 0.3))
    assert loaded.std == pytest.approx((0.4, 0.5, 0.6))


def test_robustness_takes_the_attackers_network_where_there_is_no_other(tmp_path):
    net = network(IMAGENET)
    content = {"model": prefixed(net.state_dict(), "module.attacker.model.")}
    loaded = load("robustness", saved(content, tmp_path), IMAGENET)
    assert_same(loaded.state, net)
    assert loaded.mean is None
    assert loaded.std is None


def test_fast_adversarial_normalises_as_its_imagenet_training_did(tmp_path):
    net = network(IMAGENET)
    content = {"state_dict": prefixed(net.state_dict(), "module."), "optimizer": {"state": {}}}
    loaded = load("fast_adversarial", saved(content, tmp_path), IMAGENET)
    assert_same(loaded.state, net)
    assert loaded.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("holder", [None, "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_state_dict_with_and_without_holder_and_prefix(prefix, holder, suffix, tmp_path):
    net = network(CIFAR)
    state = prefixed(net.state_dict(), prefix)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({holder: state} if holder else state, path)
    else:
        named = prefixed(state, f"{holder}.") if holder else state
        save_file({name: value.contiguous() for name, value in named.items()}, path)
    loaded = load("state_dict", path, CIFAR)
    assert_same(loaded.state, net)
    assert loaded.mean is None


def test_others_names_for_head_and_shortcut(tmp_path):
    net = network(IMAGENET)
    state = {
        name.replace("fc.", "linear.").replace("downsample", "shortcut"): value
        for name, value in net.state_dict().items()
    }
    assert "linear.bias" in state
    assert "layer2.0.shortcut.0.weight" in state
    assert_same(load("state_dict", saved(state, tmp_path), IMAGENET).state, net)


def test_two_heads_are_one_too_many(tmp_path):
    state = network(CIFAR).state_dict()
    state["linear.bias"] = state["fc.bias"] + 1
    assert "1 unexpected" in refusal("state_dict", saved(state, tmp_path), CIFAR)


def test_old_files_without_batch_counts_and_in_half_precision(tmp_path):
    net = network(CIFAR)
    state = {n: v.half() for n, v in net.state_dict().items() if "num_batches" not in n}
    loaded = load("state_dict", saved(state, tmp_path), CIFAR).state
    assert loaded["bn1.num_batches_tracked"].dtype == torch.int64
    assert loaded["bn1.num_batches_tracked"] == 0
    assert loaded["conv1.weight"].dtype == torch.float32
    assert torch.equal(loaded["conv1.weight"], net.conv1.weight.half().float())


def test_a_mismatch_counts_each_kind_and_shows_three(tmp_path):
    state = network(CIFAR, classes=3).state_dict()
    state["extra"] = torch.zeros(2, 1)
    del state["conv1.weight"]
    message = refusal("state_dict", saved(state, tmp_path), CIFAR)
    assert (
        "weights.pt for resnet20: it does not fit: 1 missing, 1 unexpected and 2 wrongly" in message
    )
    assert "conv1.weight ours (4, 3, 3, 3) theirs none; extra ours none theirs (2, 1)" in message
    assert "fc.weight ours (10, 16) theirs (3, 16))" in message
    assert "fc.bias" not in message
    assert "choose a model (arch, width, stem)" in message


def test_another_stem_does_not_fit(tmp_path):
    state = network(Model(arch="resnet18", width=4, stem="cifar")).state_dict()
    message = refusal("state_dict", saved(state, tmp_path), IMAGENET)
    assert "0 missing, 0 unexpected and 1 wrongly shaped" in message
    assert "conv1.weight ours (4, 3, 7, 7) theirs (4, 3, 3, 3)" in message


@pytest.mark.parametrize("layout", ["robustness", "fast_adversarial", "state_dict"])
@pytest.mark.parametrize("content", [{"model": {}}, {"epoch": 3}, {}, [1], {"w": torch.ones(1)}])
def test_files_without_a_network_are_refused(layout, content, tmp_path):
    assert "weights.pt" in refusal(layout, saved(content, tmp_path), CIFAR)


def test_checksum(tmp_path):
    path = saved(network(CIFAR).state_dict(), tmp_path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path) == right
    load("state_dict", path, CIFAR, sha256=right)
    message = refusal("state_dict", path, CIFAR, sha256="0" * 64)
    assert right in message
    assert "0" * 64 in message


def test_missing_and_damaged_files(tmp_path):
    assert "no weights file" in refusal("state_dict", tmp_path / "none.pt", CIFAR)
    path = saved(network(CIFAR).state_dict(), tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    assert str(path) in refusal("state_dict", path, CIFAR)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"\x10")
    assert str(torn) in refusal("state_dict", torn, CIFAR)
    empty = tmp_path / "empty.pt"
    empty.touch()
    assert str(empty) in refusal("state_dict", empty, CIFAR)


def torchvision_load(model, weights="IMAGENET1K_V1", **more):
    net = networks.build(model, 1000, *RGB, seed=9)
    checkpoint = Checkpoint(format="torchvision", weights=weights, **more)
    return formats.load(checkpoint, model, net)


def test_torchvision_reads_its_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    net = networks.build(Model(arch="resnet18"), 1000, *RGB, seed=1)
    saved(net.state_dict(), folder, "resnet18-f37072fd.pth")
    loaded = torchvision_load(Model(arch="resnet18"))
    assert_same(loaded.state, net)
    assert loaded.mean == (0.485, 0.456, 0.406)
    assert loaded.std == (0.229, 0.224, 0.225)
    with pytest.raises(InputError, match="the study says"):
        torchvision_load(Model(arch="resnet18"), sha256="0" * 64)


def test_torchvision_without_network_says_which_file_it_wants(monkeypatch, tmp_path):
    def offline(*args, **more):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(InputError, match="python -m tuner data STUDY fetches it") as caught:
        torchvision_load(Model(arch="resnet50"), "IMAGENET1K_V2")
    assert f"resnet50-11ad3fa6.pth in {tmp_path}/hub/checkpoints" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_torchvision_has_only_some():
    with pytest.raises(InputError, match=r"only IMAGENET1K_V1, IMAGENET1K_V2$"):
        torchvision_load(Model(arch="resnet50"), "DEFAULT")
    for other in (CIFAR, IMAGENET, Model(arch="resnet18", stem="cifar")):
        with pytest.raises(InputError, match="resnet18, resnet34, resnet50 with their own"):
            torchvision_load(other)
