"""Datasets from small files in their original formats, and from real ones where they are."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from search_spaces.errors import InputError
from search_spaces.spec import Dataset
from tests.support.paths import ROOT
from trainables.data import readers
from trainables.data.catalogue import channels_and_classes
from trainables.data.datasets import splits

SHARED = Path(os.environ.get("DOUBLE_WIN_SHARED") or ROOT.parent / "shared" / "data")


@pytest.fixture(autouse=True)
def _nothing_cached():
    splits.cache_clear()


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def colours(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), np.uint8)


def write_cifar(root, monkeypatch, name="cifar10", n=20):
    """CIFAR in torchvision's layout, its checksums told to torchvision. Returns the images."""
    kind = readers.torchvision_class(name)
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    labels = "labels" if name == "cifar10" else "fine_labels"
    written = {}
    for attribute in ("train_list", "test_list"):
        entries = []
        for number, (file, _) in enumerate(getattr(kind, attribute)):
            x = colours(n, seed=number)
            content = {
                "data": x.transpose(0, 3, 1, 2).reshape(n, -1),
                labels: [*range(10)] * (n // 10),
            }
            (folder / file).write_bytes(pickle.dumps(content))
            entries.append([file, md5(folder / file)])
            written[file] = x
        monkeypatch.setattr(kind, attribute, entries)
    meta = folder / kind.meta["filename"]
    meta.write_bytes(pickle.dumps({kind.meta["key"]: ["a"] * 10}))
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(meta)})
    return written


def of(name, root, **fields):
    return Dataset(name=name, path=str(root), **{"size": 32, **fields})


def test_cifar10(tmp_path, monkeypatch):
    written = write_cifar(tmp_path, monkeypatch)
    data = splits(of("cifar10", tmp_path))
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (90, 10, 20, 10)
    first = torch.from_numpy(written["data_batch_1"][0]).permute(2, 0, 1)
    assert torch.equal(data.train.x[0], first)
    last = torch.from_numpy(written["data_batch_5"][-1]).permute(2, 0, 1)
    assert torch.equal(data.val.x[-1], last)
    assert data.train.y[:11].tolist() == [*range(10), 0]
    assert data.mean == (0.4914, 0.4822, 0.4465) and data.std == (0.2470, 0.2435, 0.2616)


def test_cifar100(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch, "cifar100")
    data = splits(of("cifar100", tmp_path, size=16, limit=16))
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (16, 2, 16, 100)
    assert data.train.x.shape == (16, 3, 16, 16)
    assert data.mean[0] == 0.5071


def test_crop_views_keep_the_native_size(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch)
    data = splits(of("cifar10", tmp_path, size=16, view="crop"))
    assert data.train.x.shape[2:] == (32, 32)
    assert data.train[:4].pixels().shape == (4, 3, 16, 16)


def test_full_sets_are_split_where_the_paper_splits_them(monkeypatch, tmp_path):
    from trainables.data.images import Images

    def published(name, root, train):
        n = {"svhn": 73_257}.get(name, 50_000) if train else 10
        return Images(torch.arange(n), torch.zeros(n))

    monkeypatch.setattr(readers, "published", published)
    monkeypatch.setattr(readers, "require", lambda dataset: None)
    for name, cut in (("cifar10", 45_000), ("cifar100", 45_000), ("svhn", 68_257)):
        train, val, _ = readers.torchvision_set(of(name, tmp_path))
        assert torch.equal(train.x, torch.arange(cut))
        assert (val.x[0], len(val)) == (cut, 5000)


class Planted:
    """A pickle that creates a file when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("file", ["data_batch_1", "test_batch", "batches.meta"])
def test_pickles_other_than_the_published_are_never_read(tmp_path, monkeypatch, file):
    write_cifar(tmp_path, monkeypatch)
    marker = tmp_path / "marker"
    planted = pickle.dumps(Planted(marker))
    (tmp_path / "cifar-10-batches-py" / file).write_bytes(planted)
    with pytest.raises(InputError, match=r"not the published one \(md5 differs\): remove it"):
        splits(of("cifar10", tmp_path))
    assert not marker.exists()
    pickle.loads(planted)
    assert marker.exists(), "the planted pickle would have worked"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_absent_sets_say_what_where_and_how(tmp_path, name):
    with pytest.raises(InputError) as caught:
        splits(of(name, tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "not there: fetch it with: python -m tuner data STUDY" in str(caught.value)
    with pytest.raises(InputError, match="path is not set"):
        splits(Dataset(name=name, size=32))


def write_svhn(root, monkeypatch, n=20):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    entries, written = {}, {}
    for seed, split in enumerate(("train", "test")):
        x = written[split] = colours(n, seed)
        path = root / f"{split}_32x32.mat"
        savemat(path, {"X": x.transpose(1, 2, 3, 0), "y": 1 + np.arange(n)[:, None] % 10})
        entries[split] = [SVHN.split_list[split][0], path.name, md5(path)]
    monkeypatch.setattr(SVHN, "split_list", {**SVHN.split_list, **entries})
    return written


def test_svhn(tmp_path, monkeypatch):
    written = write_svhn(tmp_path, monkeypatch)
    data = splits(of("svhn", tmp_path))
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (18, 2, 20, 10)
    assert torch.equal(data.test.x, torch.from_numpy(written["test"]).permute(0, 3, 1, 2))
    # Digit 0 is written as 10.
    assert data.test.y[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert data.std[0] == 0.1201
    (tmp_path / "test_32x32.mat").write_bytes(b"other")
    with pytest.raises(InputError, match="md5 differs"):
        splits(of("svhn", tmp_path, size=16))


def write_npz(path, save=np.savez, **changes):
    arrays = {
        "train_x": colours(40)[:, :12, :10],
        "train_y": np.arange(40) // 10,
        "test_x": colours(12, 1)[:, :12, :10],
        "test_y": np.arange(12) // 3,
    }
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    save(path, **arrays)
    return path


def test_npz(tmp_path):
    path = write_npz(tmp_path / "own.npz")
    dataset = of("npz", path, size=8, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    data = splits(dataset)
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (36, 4, 12, 4)
    assert data.val.y.bincount().tolist() == [1] * 4
    assert data.test[:4].y.sort().values.tolist() == [0, 1, 2, 3]
    assert data.train.x.shape == (36, 3, 8, 8)
    values = data.train.x.double() / 255
    assert data.mean == pytest.approx(values.mean(dim=(0, 2, 3)).tolist())
    assert channels_and_classes(dataset) == (3, 4)
    splits.cache_clear()
    write_npz(path, test_y=np.zeros(12, int))
    with pytest.raises(InputError, match=r"own.npz has sha256 .*, not "):
        splits(dataset)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_x": None}, "train_x"),
        ({"train_x": np.zeros((40, 8, 8, 3))}, "train_x is float64"),
        ({"test_x": np.zeros((12, 8, 8), np.uint8)}, r"test_x is uint8 \(12, 8, 8\)"),
        ({"test_x": np.zeros((12, 8, 8, 1), np.uint8)}, "differ in channels"),
        ({"train_y": np.arange(39)}, "train_y"),
        ({"train_y": np.arange(40) - 1}, "40 integers from 0"),
        ({"train_y": np.zeros(40)}, "train_y is float64"),
        ({"train_y": np.array([{}] * 40)}, "allow_pickle"),
        ({"train_y": 1 + np.arange(40) // 10, "test_y": 1 + np.arange(12) // 3}, "count from 1"),
        ({"train_y": np.arange(40) // 10 * 500}, "500"),
        ({"train_y": np.where(np.arange(40) < 39, np.arange(40) // 10, 1 << 60)}, str(1 << 60)),
        ({"train_y": np.arange(40) // 10 * 2, "test_y": np.arange(12) // 3 * 2}, "and 1 is none"),
        ({"test_y": np.arange(12)}, "label 4 occurs in test_y and not in train_y"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        splits(of("npz", write_npz(tmp_path / "own.npz", **changes)))


def test_gaps_are_closed_as_the_message_says(tmp_path):
    train, test = np.arange(40) // 10 * 3 + 7, np.arange(12) // 3 * 3 + 7
    path = write_npz(tmp_path / "own.npz", train_y=train, test_y=test)
    with pytest.raises(
        InputError, match=r"numpy\.searchsorted\(numpy\.unique\(train_y\), labels\)"
    ):
        channels_and_classes(of("npz", path))
    closed = {"train_y": np.searchsorted(np.unique(train), train)}
    write_npz(path, **closed, test_y=np.searchsorted(np.unique(train), test))
    assert channels_and_classes(of("npz", path)) == (3, 4)


def test_a_test_set_may_lack_a_class(tmp_path):
    path = write_npz(tmp_path / "own.npz", test_y=np.arange(12) // 4)
    assert splits(of("npz", path, size=8)).classes == 4


def test_the_only_image_of_a_class_is_trained_on(tmp_path):
    y = np.append(np.arange(38) % 3, [3, 4])
    data = splits(of("npz", write_npz(tmp_path / "own.npz", train_y=y), size=8, limit=32))
    assert len(data.val) == 4
    assert data.val.y.bincount(minlength=5).tolist()[3:] == [0, 0]
    assert data.train.y.bincount(minlength=5).tolist()[3:] == [1, 1]


MEASURE = """
import sys
from pathlib import Path
from search_spaces.spec import Dataset
from trainables.data.datasets import splits
status = Path("/proc/self/status")
def peak(line):
    return 1024 * int(status.read_text().split(line)[1].split()[0])
path, size = sys.argv[1:]
before = peak("VmRSS:")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
data = splits(Dataset(name="npz", path=path, size=int(size)))
print(peak("VmHWM:") - before, len(data.train))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory on Linux")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reading_takes_at_most_three_times_the_images(tmp_path, save):
    x = np.zeros((20_000, 32, 32, 3), np.uint8)
    y = np.arange(20_000) % 10
    arrays = {"train_x": x, "train_y": y, "test_x": x[:2000], "test_y": y[:2000]}
    path = write_npz(tmp_path / "own.npz", save, **arrays)
    command = [sys.executable, "-c", MEASURE, str(path), "24"]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert int(out.split()[1]) == 18_000
    assert int(out.split()[0]) < 3 * 1.1 * x.nbytes


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_files_that_are_no_npz_are_refused(tmp_path, content):
    path = tmp_path / "own.npz"
    if content is not None:
        path.write_bytes(content)
    for read in (splits, channels_and_classes):
        with pytest.raises(InputError, match=r"own.npz.*write arrays train_x \(N, H, W, C\) uint8"):
            read(of("npz", path))


def test_known_channels_and_classes():
    names = ("mnist-mini", "digits", "cifar100", "svhn", "imagenet", "cub200", "visda17")
    found = [channels_and_classes(Dataset(name=name, size=32)) for name in names]
    assert found == [(1, 10), (1, 10), (3, 100), (3, 10), (3, 1000), (3, 200), (3, 12)]


@pytest.mark.parametrize(
    ("file", "size", "train", "test", "classes"),
    [
        ("cifar10_7k.npz", 32, 5000, 2000, 10),
        ("svhn_cropped_small.npz", 32, 554, 486, 10),
        ("office10_webcam_64.npz", 64, 239, 56, 10),
    ],
)
def test_real_files(file, size, train, test, classes):
    path = SHARED / file
    if not path.exists():
        pytest.skip(f"{path} not there: set DOUBLE_WIN_SHARED to the folder that holds it")
    dataset = of("npz", path, size=size)
    data = splits(dataset)
    held = round(0.1 * train)
    assert (len(data.train), len(data.val), len(data.test)) == (train - held, held, test)
    assert data.train.x.shape[1:] == (3, size, size)
    assert channels_and_classes(dataset) == (3, data.classes)
    assert data.classes == classes
    every = torch.cat([data.train.y, data.val.y]).bincount(minlength=classes)
    assert ((data.val.y.bincount(minlength=classes) - every / 10).abs() <= 1).all()


def test_a_real_file_that_holds_some_of_its_classes():
    path = SHARED / "cifar100_mini.npz"
    if not path.exists():
        pytest.skip(f"{path} not there: set DOUBLE_WIN_SHARED to the folder that holds it")
    with pytest.raises(InputError, match="cifar100_mini"):
        splits(of("npz", path))
