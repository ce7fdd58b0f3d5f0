"""The converter takes out tensors to the bit, and never runs what a file names."""

import os
import pickle
import shlex
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint
from search_spaces.spec import Model
from trainables.checkpoints import formats
from trainables.checkpoints.convert import main
from trainables.checkpoints.foreign import STORAGES
from trainables.models import networks

BOTH = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def converted(folder, content, *flags, zipped=True):
    """(exit code, tensors or None) of converting a file with this content."""
    source, target = folder / "in.pt", folder / "out.safetensors"
    torch.save(content, source, _use_new_zipfile_serialization=zipped)
    code = main([str(source), str(target), *flags])
    return code, load_file(target) if target.exists() else None


class Caller:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def planted(marker):
    """Ways to run a command from a pickle."""
    command = f"touch {marker}"
    return {
        "reduce": Caller(os.system, command),
        "eval": Caller(eval, f"__import__('os').system({command!r})"),
        "of a list": [{"deep": (Caller(os.system, command),)}],
        "as a key": {Caller(os.system, command): 1},
        "getattr": Caller(getattr, Caller(__import__, "os"), "system"),
    }


@BOTH
@pytest.mark.parametrize("way", list(planted("")))
def test_a_planted_call_is_refused_or_dropped_and_never_runs(way, zipped, tmp_path, capsys):
    marker = tmp_path / "marker"
    content = {"weight": torch.arange(3.0), "x": planted(marker)[way]}
    assert converted(tmp_path, content, zipped=zipped) == (2, None)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "names posix.system" in error or "names builtins." in error or "__builtin__." in error
    code, tensors = converted(tmp_path, content, "--drop", zipped=zipped)
    assert code == 0
    assert {name: t.tolist() for name, t in tensors.items()} == {"weight": [0, 1, 2]}
    assert not marker.exists()


@pytest.mark.parametrize("flags", [[], ["--drop"]])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bare_pickle_is_refused(protocol, flags, tmp_path, capsys):
    marker = tmp_path / "marker"
    source = tmp_path / "in.pt"
    source.write_bytes(pickle.dumps(Caller(os.system, f"touch {marker}"), protocol))
    assert main([str(source), str(tmp_path / "out.safetensors"), *flags]) == 2
    assert "error: " in capsys.readouterr().err
    assert not marker.exists()
    assert not (tmp_path / "out.safetensors").exists()
    pickle.loads(source.read_bytes())
    assert marker.exists(), "the test's own pickle is harmless"


@BOTH
def test_load_runs_nothing_and_names_the_converter(zipped, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "in.pt"
    content = {"state_dict": {"w": torch.ones(1)}, "x": Caller(os.system, f"touch {marker}")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    checkpoint = Checkpoint(format="state_dict", path=str(path))
    with pytest.raises(InputError) as caught:
        formats.load(checkpoint, Model(arch="resnet8"), torch.nn.Linear(1, 1))
    words = shlex.split(str(caught.value).partition("python -m ")[2])
    assert words[:3] == ["trainables.checkpoints.convert", str(path), f"{tmp_path}/in.safetensors"]
    assert "\n" not in str(caught.value)
    assert not marker.exists()


# Written by hand: what pickle.dumps never writes, but pickle.loads obeys.
OPCODES = {
    "inst": b"(S'touch MARKER'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'touch MARKER'\no.",
    "newobj": b"cos\nsystem\n(S'touch MARKER'\nt\x81.",
    "build": b"cbuiltins\nset\n(t}S'__setstate__'\ncos\nsystem\nsbS'touch MARKER'\nb.",
    "call of a tensor type": b"ctorch\nFloatStorage\n(S'touch MARKER'\ntR.",
    "dotted name": b"\x80\x04\x8c\x0btorch.serialization\x93.",
    "extension": b"\x82\x01.",
}


@pytest.mark.parametrize("flags", [[], ["--drop"]])
@pytest.mark.parametrize("way", list(OPCODES))
def test_hand_written_programs_run_nothing(way, flags, tmp_path):
    marker = tmp_path / "marker"
    source = tmp_path / "in.pt"
    with zipfile.ZipFile(source, "w") as archive:
        program = OPCODES[way].replace(b"MARKER", str(marker).encode())
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
    assert main([str(source), str(tmp_path / "out.safetensors"), *flags]) == 2
    assert not marker.exists()


@BOTH
def test_a_class_that_is_nowhere_is_dropped_and_the_network_loads(
    zipped, tmp_path, monkeypatch, capsys
):
    """As in the published robust ImageNet networks: a schedule and arguments of lost classes."""
    lost = types.ModuleType("lost_library")
    exec("class Schedule(dict):\n    pass\nclass Args:\n    pass", lost.__dict__)
    monkeypatch.setitem(sys.modules, "lost_library", lost)
    schedule, args = lost.Schedule(lr=0.1), lost.Args()
    args.weights = torch.ones(2)
    model = Model(arch="resnet18", width=4)
    net = networks.build(model, 10, [0.5] * 3, [0.2] * 3, seed=0)
    wrapped = OrderedDict((f"module.model.{n}", v) for n, v in net.state_dict().items())
    wrapped["module.normalizer.new_mean"] = torch.full((3, 1, 1), 0.25)
    wrapped["module.normalizer.new_std"] = torch.full((3, 1, 1), 0.5)
    content = {"model": wrapped, "schedule": schedule, "args": args, "epoch": 3}
    source, target = tmp_path / "in.pt", tmp_path / "out.safetensors"
    torch.save(content, source, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "lost_library")

    assert main([str(source), str(target)]) == 2
    assert "it names lost_library.Schedule, which" in capsys.readouterr().err
    assert main([str(source), str(target), "--drop"]) == 0
    assert "lost_library" not in sys.modules
    out = capsys.readouterr().out
    assert f"{len(wrapped)} tensors; dropped 3 entries" in out
    assert "schedule (lost_library.Schedule), args (lost_library.Args), epoch (int)" in out
    assert "model.module.model.conv1.weight" in load_file(target)
    loaded = formats.load(Checkpoint(format="robustness", path=str(target)), model, net)
    assert all(torch.equal(loaded.state[n], v) for n, v in net.state_dict().items())
    assert (loaded.mean, loaded.std) == ((0.25,) * 3, (0.5,) * 3)


@BOTH
@pytest.mark.parametrize("kind", STORAGES.values(), ids=str)
def test_every_type_comes_out_to_the_bit(kind, zipped, tmp_path):
    base = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(kind)
    content = {
        "whole": base,
        "view": base[1:, 1:],
        "transposed": base.T,
        "scalar": base[1, 2],
        "empty": base[:0],
        "nested": [torch.nn.Parameter(base, requires_grad=False), {"x": (base + base,)}],
    }
    code, tensors = converted(tmp_path, content, zipped=zipped)
    assert code == 0
    expected = {**content, "nested.0": content["nested"][0], "nested.1.x.0": base + base}
    del expected["nested"]
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert tensors[name].dtype == kind
        assert torch.equal(tensors[name], value), name


@BOTH
def test_scalars_are_left_out_without_asking(zipped, tmp_path, capsys):
    content = {
        "w": torch.ones(2),
        "best": np.float64(0.5),
        "epoch": 3,
        "none": None,
        "size": torch.Size([2]),
        "names": {"a"},
    }
    code, tensors = converted(tmp_path, content, zipped=zipped)
    assert code == 0
    assert list(tensors) == ["w"]
    out = capsys.readouterr().out
    assert "1 tensors; dropped 5 entries: best (numpy." in out
    assert "none (NoneType), size (Size), names (set)" in out


def test_a_container_that_holds_itself_comes_to_an_end(tmp_path):
    loop = {"w": torch.ones(2)}
    loop["again"] = loop
    many = [torch.zeros(1)]
    for _ in range(60):
        many = [many, many]
    code, tensors = converted(tmp_path, {"loop": loop, "many": many})
    assert code == 0
    assert len(tensors) == 2


def test_a_tensor_beyond_its_storage_is_refused(tmp_path, capsys):
    huge = torch.ones(1).expand(1 << 40)
    assert converted(tmp_path, {"huge": huge}) == (2, None)
    assert "larger than its storage" in capsys.readouterr().err


def test_a_legacy_storage_beyond_the_file_is_refused(tmp_path, capsys):
    source = tmp_path / "in.pt"
    torch.save({"w": torch.ones(70000)}, source, _use_new_zipfile_serialization=False)
    count = struct.pack("<i", 70000)
    assert source.read_bytes().count(count) >= 2
    source.write_bytes(source.read_bytes().replace(count, struct.pack("<i", 1 << 30)))
    assert main([str(source), str(tmp_path / "out.safetensors")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {source} is refused")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"epoch": 3}, "holds no tensors"),
        ({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, "two tensors would be called a.b"),
    ],
)
def test_refusals_leave_no_file(content, reason, tmp_path, capsys):
    assert converted(tmp_path, content) == (2, None)
    assert reason in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.pt"]


def test_bad_paths(tmp_path, capsys):
    target = str(tmp_path / "out.safetensors")
    assert main([str(tmp_path / "none.pt"), target]) == 2
    text = tmp_path / "text.pt"
    text.write_text("no weights")
    assert main([str(text), target]) == 2
    assert main([str(text), str(tmp_path / "out.pt")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") for line in lines] == [True] * 3
    assert "must end with .safetensors" in lines[2]
