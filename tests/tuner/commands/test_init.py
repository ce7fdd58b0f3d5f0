"""A first study of one's own: written once, accepted by plan, sized to the minutes."""

import os

import numpy as np
import pytest

from search_spaces import grid
from search_spaces.reading import studies
from tuner.estimate import prices
from tuner.estimate.prices import Price


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with an npz file; each kind of step takes a millisecond."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    monkeypatch.setattr(prices, "timed", lambda steps, where: {s: Price(1e-3, 100) for s in steps})
    write(tmp_path / "my digits.npz", channels=1)
    return tmp_path


def write(path, channels):
    rng = np.random.default_rng(0)
    shapes = {"train": 300, "test": 200}
    arrays = {f"{s}_y": np.arange(n) % 10 for s, n in shapes.items()}
    for split, n in shapes.items():
        arrays[f"{split}_x"] = rng.integers(0, 256, (n, 12, 12, channels), np.uint8)
    np.savez(path, **arrays)


TASKS = ("--source", "mnist-mini", "--downstream", "my digits.npz")


def test_plan_accepts_what_is_written(tuner, folder):
    code, out, err = tuner("init", "first try.yaml", *TASKS)
    assert code == 0, err
    assert "python -m tuner plan 'first try.yaml'" in out
    study = studies.load("first try.yaml")
    assert study.name == "first-try"
    assert study.downstream[0].dataset.size == 16
    code, out, err = tuner("plan", "first try.yaml", "--no-measure")
    assert (code, err) == (0, "")
    assert "refuses" not in out


def test_a_file_in_the_data_folder_is_named_from_there(tuner, folder):
    (folder / "data").mkdir()
    write(folder / "data" / "own.npz", channels=1)
    assert tuner("init", "a.yaml", "--source", "digits", "--downstream", "own.npz").code == 0
    assert studies.load("a.yaml").downstream[0].dataset.path == "own.npz"


def test_a_function_of_ones_own_is_data_too(tuner, folder, monkeypatch):
    code = (
        "import numpy as np\ndef bars():\n    x, y = np.eye(8, dtype='uint8'), np.arange(80) % 2\n"
    )
    code += "    x = np.stack([x, 1 - x] * 40)[..., None] * 200\n"
    code += "    return dict(train_x=x, train_y=y, test_x=x, test_y=y)\n"
    (folder / "drafted.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    assert tuner("init", "a.yaml", "--source", "digits", "--downstream", "drafted:bars").code == 0
    assert studies.load("a.yaml").downstream[0].dataset.title == "bars"
    assert tuner("plan", "a.yaml").code == 0


def test_more_minutes_are_more_work(tuner, folder):
    transfers = []
    for minutes in (1, 10, 10_000):
        assert tuner("init", "a.yaml", *TASKS, "--minutes", minutes, "--force").code == 0
        transfers.append(len(grid.transfers(studies.load("a.yaml"))))
    assert transfers == sorted(transfers) and transfers[0] < transfers[-1]


def test_nothing_is_overwritten_unasked(tuner, folder):
    (folder / "study.yaml").write_text("mine")
    code, out, err = tuner("init", *TASKS)
    assert (code, out) == (2, "") and "--force" in err
    assert (folder / "study.yaml").read_text() == "mine"
    assert tuner("init", *TASKS, "--force").code == 0
    assert studies.load("study.yaml").name == "study"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "mnist-mini"], "--downstream: missing"),
        (["--source", "mnist", "--downstream", "digits"], "data mnist: no such file or folder"),
        (["--source", "mnist-mini", "--downstream", "colour.npz"], "has 3 colour channels"),
        (["--source", "mnist-mini", "--downstream", "damaged.npz"], "damaged.npz"),
        (["--source", "mnist-mini", "--downstream", "notes.txt"], "data notes.txt: takes"),
        ([*TASKS, "--arch", "resnet9"], "--arch resnet9 is no network: takes resnet8,"),
        ([*TASKS, "--minutes", "0"], "--minutes"),
        (["study.txt", *TASKS], "must end in .yaml"),
        (["gone/study.yaml", *TASKS], "gone/study.yaml: cannot be written"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_run_would_refuse_is_refused_and_nothing_written(tuner, folder, arguments, words):
    write(folder / "colour.npz", channels=3)
    (folder / "damaged.npz").write_bytes(b"PK damaged")
    (folder / "notes.txt").write_text("notes")
    before = sorted(folder.rglob("*"))
    code, out, err = tuner("init", *arguments)
    assert (code, out) == (2, "") and words in err
    assert sorted(folder.rglob("*")) == before
