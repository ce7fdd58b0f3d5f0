"""Prices of steps: measured in a process of their own, kept in the cache by machine."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from search_spaces.spec import Model
from trainables.estimate.work import Net, Step
from tuner.cluster.capacity import Capacity
from tuner.estimate import prices
from tuner.estimate.prices import Price

NET = Net(model=Model(arch="resnet8", width=4), size=8, channels=1)
STEPS = [
    Step(net=NET, operation=operation, batch=batch)
    for operation, batch in [("train", 8), ("train", 64), ("attack", 64), ("judge", 64)]
]


@pytest.fixture
def where():
    return prices.machine(Capacity(cpus=2, gpus=0, workers=1, trial_cpus=1, trial_gpus=0))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(prices, "SECONDS_A_STEP", 0.2)


def test_steps_are_measured_once(where, quick, tmp_path):
    said = []
    found = prices.measured(STEPS, where, said.append, tmp_path)
    assert said == ["measuring this machine: 4 kinds of step ..."]
    assert list(found) == STEPS
    few, many, attack, judge = found.values()
    assert 0 < few.seconds < many.seconds
    assert 0 < judge.seconds < attack.seconds < 2 * many.seconds
    assert {price.images for price in found.values()} == {8, 64}
    assert 0 < many.prunable < many.parameters
    again = prices.measured(STEPS, where, pytest.fail, tmp_path)
    assert again == found == prices.known(STEPS, where, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_another_machine_has_other_prices(where, tmp_path):
    prices._keep({prices.key(STEPS[0]): Price(1, 0, 8, 9, 9)}, where, tmp_path)
    assert prices.known(STEPS, where, tmp_path) == {STEPS[0]: Price(1, 0, 8, 9, 9)}
    for changed in ({"processor": "other"}, {"torch": "1.0"}, {"copies": 1}, {"gpus": ("H100",)}):
        assert prices.known(STEPS, replace(where, **changed), tmp_path) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"prices": {"a": {"seconds": 1}}}'])
def test_a_damaged_cache_is_an_empty_one(where, tmp_path, content):
    prices._keep({}, where, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert prices.cached(where, tmp_path) == {}
    prices._keep({"a": Price(1, 0, 8, 9, 9)}, where, tmp_path)
    assert prices.cached(where, tmp_path) == {"a": Price(1, 0, 8, 9, 9)}


def test_a_cache_that_cannot_be_written_is_done_without(where, tmp_path):
    (tmp_path / "taken").write_text("")
    prices._keep({"a": Price(1, 0, 8, 9, 9)}, where, tmp_path / "taken")
    assert prices.cached(where, tmp_path / "taken") == {}


def test_the_cache_is_the_users(where, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prices._keep({"a": Price(1, 0, 8, 9, 9)}, where, None)
    (file,) = (tmp_path / "double-win-tickets").iterdir()
    assert json.loads(file.read_text())["machine"]["cpus"] == 2


def test_what_cannot_be_measured_is_said_and_left_out(where, tmp_path, monkeypatch):
    monkeypatch.setattr(prices, "_title", lambda step: "that one")
    said = []
    broken = replace(where, threads=-1, copies=1)
    assert prices.measured(STEPS, broken, said.append, tmp_path) == {}
    assert said[1:] == ["could not be measured: that one"]


def test_time_is_bounded(where, tmp_path, monkeypatch):
    monkeypatch.setattr(prices, "SECONDS_IN_ALL", -1.0)
    said = []
    assert prices.measured(STEPS, where, said.append, tmp_path) == {}
    assert said[1:] == ["not all measured in -1 s: plan again to go on"]


def test_gpus_are_asked_for_without_torch(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho NVIDIA H100\necho "$@" >> $0.log\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    prices.gpu_names.cache_clear()
    assert prices.gpu_names() == ("NVIDIA H100",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    prices.gpu_names.cache_clear()
    assert prices.gpu_names() == ()
    prices.gpu_names.cache_clear()


def test_cores_that_others_want_are_counted(where):
    spin = [sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(spin) for _ in range(6)]
    try:
        time.sleep(0.5)
        assert prices.cores_busy() > 5
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_gpus_are_not_disturbed_by_work_on_the_cpu(where):
    assert not prices.disturbed(where, 1.0)
    assert prices.disturbed(where, 1.1)
    assert not prices.disturbed(replace(where, gpus=("H100",)), 9.0)
