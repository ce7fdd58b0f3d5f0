"""What is exported is loaded by the lines of its card, and answers to the bit as it did."""

import io
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.networks import Model
from tests.support import finished
from trainables.export import loading
from trainables.export.folder import smaller, written
from trainables.export.taken import Taken, decisions, take
from trainables.jobs.theta import network
from trainables.models.foreign import arguments
from trainables.pruning.masks import magnitudes, ones, prune_by_magnitude, rewind
from trainables.store.ledger import open_ledger

CPU = torch.device("cpu")
NAMES = {"study": "tiny"}
OWN = """\
from torch import nn


def network(classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, classes))


class Looks(nn.Sequential):
    def forward(self, x):
        return super().forward(x if x.mean() > 0 else -x)


def looking(classes):
    return Looks(*network(classes))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A transfer that was trained, sparse."""
    folder = tmp_path_factory.mktemp("trained")
    study = finished.finish(finished.write(folder), ledger := open_ledger(folder / "results"))
    return take(grid.transfers(study)[-1].transfer, ledger)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes an untrained sparse network of an architecture."""
    (tmp_path / "exported_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "exported_own", raising=False)

    def make(arch, size=8):
        (theta,) = grid.thetas(finished.studies.load(str(finished.write(tmp_path, arch)), []))
        dataset = theta.theta.dataset.model_copy(update={"size": size})
        spec = theta.theta.model_copy(update={"dataset": dataset})
        net = network(spec, CPU).eval()
        mask = prune_by_magnitude(magnitudes(net.state_dict(), ones(net)), ones(net), 30)
        net.load_state_dict(rewind(net.state_dict(), mask))
        ticket = replace(theta, theta=spec).dense.ticket
        return Taken(ticket, net, mask, {"torch": "2", "device": "cpu"})

    return make


def run(folder, exported, lines):
    """What the lines leave behind when they are run in the exported folder."""
    for name, content in exported.files.items():
        (folder / name).write_bytes(content)
    names = {}
    exec(lines, names)
    return names


def test_a_trained_transfer_is_sparse_and_answers_as_it_was_judged(trained):
    kept, total = trained.kept
    assert kept < 0.1 * total
    weights = trained.net.state_dict()
    assert all((weights[name][~mask] == 0).all() for name, mask in trained.mask.items())
    right = (decisions(trained.net, trained.splits) == trained.splits.test.y).double().mean()
    assert right.item() == trained.result["test"]["sa"]


@pytest.mark.parametrize(
    ("arch", "size", "form"),
    [
        ("resnet8, width: 4", 8, "safetensors"),
        ("resnet8, width: 4", 8, "torch"),
        ("'torchvision:squeezenet1_1'", 32, "torch"),
        ("'torchvision:squeezenet1_1'", 32, "safetensors"),
        ("'timm:resnet10t'", 32, "safetensors"),
        ("'exported_own:network'", 8, "safetensors"),
    ],
)
def test_weights_are_loaded_by_the_lines_to_the_bit(made, tmp_path, monkeypatch, arch, size, form):
    if "timm" in arch:
        pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    taken = made(arch, size)
    exported = written(taken, "safetensors", NAMES)
    state = {name: value.contiguous() for name, value in taken.net.state_dict().items()}
    torch.save(state, "model.pt")
    lines = loading.from_state(taken.ticket.theta.model, form)
    assert len(lines.splitlines()) <= 15
    net = run(tmp_path, exported, lines)["net"]
    assert torch.equal(net(taken.images(3)), taken.net(taken.images(3)))
    if "timm" in arch:
        read = pytest.importorskip("timm").create_model("local-dir:.", pretrained=True)
        assert all(torch.equal(read.state_dict()[name], value) for name, value in state.items())
        assert read.pretrained_cfg["mean"] == pytest.approx(taken.normalisation[0])


def test_a_program_is_loaded_without_this_project(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exported = written(trained, "torch", NAMES)
    assert exported.notes == [] and exported.needs == "torch"
    saved = torch.load(_file(tmp_path, exported, "model.pt"), weights_only=True)
    assert all(torch.equal(saved[name], v) for name, v in trained.net.state_dict().items())
    torch.save({"x": trained.images(5), "logits": trained.net(trained.images(5))}, "asked.pt")
    _file(tmp_path, exported, "model.pt2")
    block = "import sys\nsys.modules.update(dict.fromkeys(['trainables', 'search_spaces']))\n"
    check = "asked = torch.load('asked.pt')\nassert torch.equal(net(asked['x']), asked['logits'])"
    code = f"{block}{exported.loads}\n{check}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def _file(folder, exported, name):
    (folder / name).write_bytes(exported.files[name])
    return folder / name


def test_what_cannot_be_traced_goes_without_a_program(made):
    exported = written(made("'exported_own:looking'"), "huggingface", NAMES)
    assert "model.pt2" not in exported.files and len(exported.notes) == 1
    assert "exported_own" in exported.needs and "model.safetensors" in exported.loads


def test_onnx_runtime_decides_alike_on_all_test_images(trained, tmp_path, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    exported = written(trained, "onnx", NAMES)
    assert run(tmp_path, exported, exported.loads)["logits"].shape == (2, 10)
    session = runtime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])

    def answers(pixels):
        return torch.from_numpy(session.run(["logits"], {"pixels": pixels.numpy()})[0])

    given = decisions(answers, trained.splits)
    assert torch.equal(given, decisions(trained.net, trained.splits)) and len(given) > 90


def test_a_smaller_program_answers_alike(made):
    taken = made("resnet8, width: 4")
    taken.net.layer3[0].conv1.weight.data[3:] = 0
    exported = smaller(taken, "torch", NAMES)
    assert set(exported.files) == {"config.json", "model.pt2"} and len(exported.notes) == 1
    again = torch.export.load(io.BytesIO(exported.files["model.pt2"])).module()
    torch.testing.assert_close(again(taken.images(3)), taken.net(taken.images(3)))
    size = len(exported.files["model.pt2"])
    assert size < len(written(taken, "torch", NAMES).files["model.pt2"])


def test_a_smaller_network_is_no_librarys_and_has_something_to_lose(made):
    with pytest.raises(InputError, match="take --format torch or onnx"):
        smaller(made("resnet8, width: 4"), "safetensors", NAMES)
    with pytest.raises(InputError, match="all its channels do something"):
        smaller(made("'exported_own:network'"), "onnx", NAMES)


def test_settings_say_what_a_library_must_be_told():
    spec = Model(arch="torchvision:vit_b_32", options={"dropout": 0.1})
    assert arguments(spec, 32) == {"image_size": 32, "dropout": 0.1}
