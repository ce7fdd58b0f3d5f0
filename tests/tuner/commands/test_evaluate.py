"""Strangers' networks, judged: linear ones, whose robustness is known by a formula."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from tests.support.commands import Ended

SIZE, CLASSES, EPSILON = 8, 2, 0.02
SOURCE = """
from torch import nn


def linear(classes):
    body = nn.Linear({features}, {features}, bias=False)
    return nn.Sequential(nn.Flatten(), body, nn.Linear({features}, classes))
"""


class Task:
    """Random grey images, far from black and white, so that no attack is clipped, and a linear
    network; labels are what it says for three images of four."""

    def __init__(self, classes=CLASSES, count=40):
        rng = torch.Generator().manual_seed(0)
        shape = (count, SIZE, SIZE, 1)
        self.x = torch.randint(80, 176, shape, generator=rng, dtype=torch.uint8)
        self.weight = torch.randn(classes, SIZE * SIZE, generator=rng) / SIZE
        self.bias = -(self.weight @ (self.x / 255).flatten(1).mean(0))
        self.logits = (self.x / 255).flatten(1) @ self.weight.T + self.bias
        wrong = torch.arange(count) % 4 == 0
        self.y = (self.logits.argmax(1) + wrong) % classes

    def withstands(self, norm):
        """Two classes: the margin's loss within the ball is epsilon times the dual norm."""
        margin = self.logits.gather(1, self.y[:, None]) - self.logits.gather(1, 1 - self.y[:, None])
        order = {"linf": 1, "l2": 2}[norm]
        lost = EPSILON * (self.weight[0] - self.weight[1]).norm(order)
        assert (margin - lost).abs().min() > 1e-4
        return (margin > lost).double().mean().item()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SOURCE.format(features=SIZE * SIZE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def state(weight, bias):
    """Of a network of two layers, the first of which changes nothing."""
    return {"1.weight": torch.eye(SIZE * SIZE), "2.weight": weight, "2.bias": bias}


def prepared(task, folder):
    """The network as a state dict, and its images as an npz."""
    torch.save(state(task.weight, task.bias), folder / "w.pt")
    x, y = task.x.numpy(), task.y.numpy()
    np.savez(folder / "own.npz", train_x=x, train_y=y, test_x=x, test_y=y)


def judged(tuner, *more) -> tuple[Ended, dict]:
    asked = ["--weights", "w.pt", "--arch", "mine:linear", "--dataset", "own.npz"]
    ended = tuner("evaluate", *asked, "--json", "out.json", *more)
    assert ended.code == 0, ended.err
    with open("out.json", encoding="utf-8") as file:
        return ended, json.load(file)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_network_is_judged_as_the_formula_says(norm, tuner, folder):
    task = Task()
    prepared(task, folder)
    ended, record = judged(
        tuner, "--mean", "0", "--std", "1", "--norm", norm, "--epsilon", EPSILON, "--steps", 10
    )
    clean, attacked = record["scores"]
    assert clean["accuracy"] == 0.75 and clean["images"] == 40
    assert attacked["accuracy"] == task.withstands(norm)
    assert 0 < attacked["accuracy"] < 0.75
    assert record["evaluation"]["attack"]["alpha"] == EPSILON / 4
    for score in record["scores"]:
        assert score["low"] < score["accuracy"] < score["high"]
        assert score["measure"] in ended.out
    assert all(len(line) <= 80 for line in ended.out.splitlines())


def test_pixels_are_normalised_as_the_file_says(tuner, folder):
    """The network of x is the one of (x - mean) / std with its weights times std."""
    task = Task()
    prepared(task, folder)
    mean, std = 0.4, 0.2
    inner = state(task.weight * std, task.bias + task.weight.sum(1) * mean)
    whole = {f"module.1.{name}": value for name, value in inner.items()}
    whole |= {"module.0.mean": torch.tensor([mean]), "module.0.std": torch.tensor([std])}
    torch.save({"ema": whole}, "w.pt")
    _, record = judged(tuner, "--images", 20, "--epsilon", EPSILON)
    assert record["normalisation"]["mean"] == pytest.approx([mean])
    assert record["normalisation"]["std"] == pytest.approx([std])
    assert record["scores"][0]["accuracy"] == 0.75
    assert record["scores"][0]["images"] == record["images"] == 20


def test_a_network_that_knows_nothing_is_told_apart(tuner, folder):
    task = Task()
    prepared(task, folder)
    assert "commonest class" not in judged(tuner, "--mean", "0", "--std", "1")[0].out
    torch.save(state(0 * task.weight, task.bias), "w.pt")
    assert "commonest class" in judged(tuner)[0].out


@pytest.fixture
def library(monkeypatch):
    """In place of pyautoattack, whose ensemble takes half a minute on the smallest network: it is
    asked as that is, and turns every other image grey. What it was asked is listed."""
    asked = []

    class AutoAttack:
        def __init__(self, net, **settings):
            asked.append(settings)
            self.apgd_targeted, self.fab = SimpleNamespace(), SimpleNamespace()

        def run_standard_evaluation(self, x, y, batch_size):
            grey = torch.arange(len(x)) % 2 == 1
            return torch.where(grey[:, None, None, None], 0.5, x), y

    module = ModuleType("pyautoattack")
    module.AutoAttack = AutoAttack
    module.__spec__ = ModuleSpec("pyautoattack", None)
    monkeypatch.setitem(sys.modules, "pyautoattack", module)
    return asked


@pytest.mark.parametrize(("norm", "theirs"), [("linf", "Linf"), ("l2", "L2")])
def test_autoattack_is_a_further_row(norm, theirs, library, tuner, folder):
    prepared(Task(classes=4), folder)
    how = ("--epsilon", 0.005, "--norm", norm, "--mean", "0", "--std", "1")
    _, record = judged(tuner, "--autoattack", *how)
    assert [(each["norm"], each["eps"]) for each in library] == [(theirs, 0.005)]
    clean, _, auto = (score["accuracy"] for score in record["scores"])
    assert 0 < auto < clean
    assert record["checks"] == [{"kind": "autoattack", "norm": norm, "epsilon": 0.005}]
    assert record["scores"][2]["record"]["ra"] == auto


def test_corruptions_are_rows_too(tuner, folder):
    prepared(Task(), folder)
    how = ("--epsilon", EPSILON, "--steps", 1, "--mean", "0", "--std", "1")
    ended, record = judged(tuner, "--corruptions", *how)
    (*_, last) = record["scores"]
    assert (
        last["record"]["sa"] == last["accuracy"] and last["low"] < last["accuracy"] < last["high"]
    )
    assert all(name in ended.out for name in last["record"]["by"])
    assert all(len(line) <= 80 for line in ended.out.splitlines())
