"""Ways to run a sparse network: they answer alike, and what is said of them is counted rightly."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.networks import Model
from trainables.export.onnx_file import runner, to_onnx
from trainables.latency import contenders, sparse, table, work
from trainables.latency.contenders import AS_IT_IS, CSR, DENSE, ONNX, REMOVED, SEMI, assembled
from trainables.models import networks
from trainables.models.resnets import Strided1x1
from trainables.pruning.masks import apply_, factors, magnitudes, ones, prune_by_magnitude

CPU = torch.device("cpu")
IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pruned():
    """(a network of which a twentieth is left, its mask), in eval mode."""
    net = networks.build(Model(arch="resnet8", width=8), 5, [0.4], [0.3], 0, 8).eval()
    mask = prune_by_magnitude(magnitudes(net.state_dict(), ones(net)), ones(net), 900)
    mask["layer3.0.downsample.0.weight"][1:] = False
    apply_(net, factors(net, mask))
    return net, mask


@pytest.fixture(scope="module")
def field(pruned):
    return assembled(*pruned, IMAGES, CPU, threads=1)


def named(field, name):
    return next(c for c in field.contenders if c.name == name)


def test_all_ways_answer_alike(pruned, field):
    net, _ = pruned
    pytest.importorskip("onnxruntime")
    assert {c.name for c in field.contenders} >= {DENSE, AS_IT_IS, REMOVED, CSR, ONNX}
    with torch.no_grad():
        expected = net(IMAGES)
        for each in field.contenders[1:]:
            torch.testing.assert_close(each.run(IMAGES), expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(named(field, DENSE).run(IMAGES), expected)


def test_the_dense_network_keeps_what_the_mask_keeps(pruned):
    net, mask = pruned
    full = contenders.dense(net, mask).state_dict()
    for name, kept in mask.items():
        assert torch.equal(full[name][kept], net.state_dict()[name][kept])
        assert (full[name] != 0).all()


def test_why_a_way_is_not_there_is_said(pruned, field):
    assert "compute capability 8.0" in field.absent[SEMI] and "cpu" in field.absent[SEMI]
    net = networks.build(Model(arch="resnet8", width=8), 5, [0.4], [0.3], 0, 8).eval()
    absent = assembled(net, {}, IMAGES, CPU, threads=1).absent
    assert {CSR, SEMI, REMOVED} <= set(absent)


def test_a_gpu_without_sparse_tensor_cores_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "this has 7.5" in sparse.refusal(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert sparse.refusal(torch.device("cuda")) is None


@pytest.mark.parametrize(
    ("out", "inside", "kept", "fits"),
    [(32, 64, 2, True), (32, 64, 3, False), (32, 32, 2, False), (16, 64, 1, False)],
)
def test_two_of_four_is_seen(out, inside, kept, fits):
    layer = nn.Linear(inside, out)
    layer.weight.data.view(out, -1, 4)[:, :, kept:] = 0
    assert sparse.in_2_of_4(layer) == fits


def test_compressed_rows_take_the_layers_that_are_products(pruned):
    net, _ = pruned
    copy, names = sparse.compressed(net, extreme=0.5)
    kinds = {type(net.get_submodule(name)) for name in names}
    assert kinds <= {nn.Conv2d, nn.Linear, Strided1x1} and names
    with torch.no_grad():
        torch.testing.assert_close(copy(IMAGES), net(IMAGES), rtol=1e-4, atol=1e-5)


def test_multiply_adds_are_those_that_torch_counts_and_zeros_are_left_out(pruned):
    net, _ = pruned
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(IMAGES[:1])
    total, nonzero = work.macs(net, IMAGES)
    assert 2 * total == counter.get_total_flops()
    assert 0 < nonzero < total / 4
    layer = nn.Conv2d(1, 4, 3, bias=False)
    layer.weight.data[1:] = 0
    # 6 x 6 places, 4 kernels of 9 weights, of which one is left.
    assert work.macs(nn.Sequential(layer), IMAGES) == (36 * 4 * 9, 36 * 9)


def test_memory_is_that_of_the_fullest_moment():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3)).eval()
    with torch.no_grad():
        most = work.peak_memory(lambda: net(IMAGES), 1000, CPU)
    # The first convolution's 5 x 4 x 6 x 6 floats, and as many behind ReLU.
    assert most == 1000 + 2 * 4 * 5 * 4 * 6 * 6


def test_onnx_takes_any_batch_and_pixels_as_they_are(pruned):
    pytest.importorskip("onnxruntime")
    net, _ = pruned
    run = runner(to_onnx(net, IMAGES), threads=1)
    for count in (1, 3, 5):
        with torch.no_grad():
            torch.testing.assert_close(run(IMAGES[:count]), net(IMAGES[:count]))


def test_tables_fit_a_terminal():
    speed = {"median": 123456.7, "low": 123456.7, "high": 123456.7}
    ratio = {"median": 10.5, "low": 10.25, "high": 10.75}
    one = {"images_per_second": speed, "ratio": ratio}
    row = {"name": "onnxruntime removed", "about": "", "file": 10**9, "zipped": 10**8, "sa": 1.0}
    row |= {"memory": 10**10, "macs": 4 * 10**9, "nonzero_macs": 4 * 10**8, "agrees": 1.0}
    lines = table.lines({"rows": [{**row, "speed": {"1": one, "64": one}}], "absent": {}})
    assert max(map(len, lines)) <= 80
