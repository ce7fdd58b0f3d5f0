"""Networks: names, shapes and numbers of published ones; seeds; normalisation inside."""

import os
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from search_spaces.reading import studies
from search_spaces.spec import Model
from tests.support.paths import ROOT
from trainables.models.folding import folded
from trainables.models.networks import build
from trainables.models.resnets import Strided1x1

RGB = ([0.5, 0.4, 0.3], [0.2, 0.2, 0.2])


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
def test_imagenet_networks_are_torchvisions(arch):
    ours = build(Model(arch=arch), 1000, *RGB, seed=0)
    theirs = getattr(torchvision.models, arch)()
    assert {n: p.shape for n, p in ours.state_dict().items()} == {
        n: p.shape for n, p in theirs.state_dict().items()
    }


def test_imagenet_network_computes_what_torchvision_computes():
    ours = build(Model(arch="resnet18"), 10, [0.0] * 3, [1.0] * 3, seed=0).eval()
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("arch", "millions"),
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85)],
)
def test_cifar_networks_have_the_papers_sizes(arch, millions):
    """He et al. 2016, table 6."""
    net = build(Model(arch=arch), 10, *RGB, seed=0)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == millions


def test_normalisation_is_inside():
    net = build(Model(arch="resnet8", width=4), 2, [0.25], [0.5], seed=0).eval()
    plain = build(Model(arch="resnet8", width=4), 2, [0.0], [1.0], seed=0).eval()
    x = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(net(x), plain((x - 0.25) / 0.5))
    assert not any(name.endswith(("mean", "std")) for name in net.state_dict() if "." not in name)


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build(Model(arch="resnet8", width=4), 2, [0.5], [0.5], seed=0).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    second = build(Model(arch="resnet8", width=4), 2, [0.5], [0.5], seed=0).state_dict()
    other = build(Model(arch="resnet8", width=4), 2, [0.5], [0.5], seed=1).state_dict()
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 8), ("cifar", 32), ("half", 16)])
def test_stems(stem, side):
    net = build(Model(arch="resnet18", width=4, stem=stem), 2, *RGB, seed=0)
    shapes = []
    net.layer1.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    net(torch.rand(2, 3, 32, 32))
    assert shapes == [(2, 4, side, side)]


@pytest.mark.parametrize("arch", ["resnet8", "resnet20", "resnet18", "resnet50"])
def test_a_folded_network_computes_the_same_without_batchnorm(arch):
    net = build(Model(arch=arch, width=8), 10, *RGB, seed=0)
    x = torch.rand(16, 3, 32, 32)
    for _ in range(3):
        net(x)
    net.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fold = folded(net)
    torch.testing.assert_close(fold(x), net(x), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fold.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_networks_of_another_origin_are_not_folded():
    other = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    assert folded(other) is other


@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 7])
def test_narrow_networks_train_on_cpus_without_avx512(width):
    """oneDNN's strided 1x1 kernel corrupted memory there; on any CPU, seen by taking the others
    away. A process of its own: it died of a signal."""
    script = f"""
import torch
from search_spaces.reading import studies
from search_spaces.spec import Model
from trainables.models.networks import build
torch.set_num_threads(1)
net = build(Model(arch="resnet18", width={width}, stem="cifar"), 2, [0.5], [0.5], 0).train()
for step in range(20):
    x = torch.rand(16 + step % 3, 1, 8, 8).contiguous(memory_format=torch.channels_last)
    net(x).square().sum().backward()
"""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0


@pytest.mark.parametrize("channels", [2, 7])
@pytest.mark.parametrize("size", [1, 8, 9])
def test_a_strided_1x1_convolution_is_one(channels, size):
    convolution = Strided1x1(channels, 5, 1, stride=2, bias=False).double()
    x = torch.rand(3, channels, size, size, dtype=torch.float64)
    expected = nn.functional.conv2d(x, convolution.weight, stride=2)
    torch.testing.assert_close(convolution(x), expected)


def unseen(arch, size):
    """The share of convolution weights that no image of a size reaches. With positive weights and
    pixels nothing cancels and no unit is off: what gets no gradient is not connected."""
    net = build(Model(arch=arch), 10, [0.0] * 3, [1.0] * 3, seed=0).eval()
    weights = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d)]
    for weight in weights:
        nn.init.constant_(weight, 1 / weight[0].numel())
    nn.init.ones_(net.fc.weight)
    net(torch.ones(1, 3, size, size)).sum().backward()
    dead = sum(int((weight.grad == 0).sum()) for weight in weights)
    return dead / sum(weight.numel() for weight in weights)


@pytest.mark.parametrize("name", ["paper", "paper-as-code", "paper-a10"])
def test_the_papers_network_sees_all_images_at_one_size(name):
    study = studies.load(name)
    datasets = [study.source.dataset, *(task.dataset for task in study.downstream)]
    # Of instances the detector sees more.
    datasets = [dataset for dataset in datasets if dataset.kind == "labels"]
    assert {(study.source.model.arch, dataset.size) for dataset in datasets} == {("resnet50", 224)}


@pytest.mark.parametrize(("size", "share"), [(224, 0), (32, 0.235)])
def test_no_weight_of_the_papers_network_is_dead_at_its_resolution(size, share):
    """At 32 pixels the last stage sees one pixel: of its 3 x 3 kernels, most weights see none."""
    assert unseen("resnet50", size) == pytest.approx(share, abs=5e-4)
