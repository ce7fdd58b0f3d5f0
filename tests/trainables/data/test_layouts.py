"""Image folders as they come: splits, labels, and what is said when something is missing."""

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces.errors import InputError
from search_spaces.spec import Dataset
from trainables.data import catalogue
from trainables.data.catalogue import channels_and_classes
from trainables.data.datasets import splits
from trainables.data.folders import WORKERS
from trainables.data.layouts import split_sizes


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch):
    monkeypatch.setenv(WORKERS, "0")
    splits.cache_clear()


def save(path, colour=(10, 20, 30), size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def classes_in(root, split, counts):
    """counts: {class: images}; every image has its own colour."""
    for number, (name, count) in enumerate(counts.items()):
        for k in range(count):
            save(root / split / name / f"{k:03}.png", (number, k, len(split)))


@pytest.fixture
def root(tmp_path):
    classes_in(tmp_path, "train", {"cat": 20, "dog": 30})
    classes_in(tmp_path, "val", {"cat": 4, "dog": 4})
    return tmp_path


def wanted(root, **fields):
    return Dataset(**{"name": "folder", "path": str(root), "size": 8, **fields})


def read(images, size=64):
    batches = list(images.stream(torch.arange(len(images)).split(size), None))
    return torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])


def test_without_a_test_split_val_is_the_test(root):
    data = splits(wanted(root))
    assert (len(data.train), len(data.val), len(data.test)) == (45, 5, 8)
    assert data.classes == 2
    assert data.val.y.bincount().tolist() == [2, 3]
    assert data.mean == (0.485, 0.456, 0.406)
    x, y = read(data.test)
    assert x.shape == (8, 3, 8, 8) and x.dtype == torch.uint8
    assert torch.equal(x[:, 0, 0, 0].long(), y)
    assert set(x[:, 2, 0, 0].tolist()) == {len("val")}
    seen = [set(map(bytes, read(part)[0].numpy())) for part in (data.train, data.val)]
    assert not seen[0] & seen[1] and len(seen[0] | seen[1]) == 50


def test_with_a_test_split_val_is_val(root):
    classes_in(root, "test", {"cat": 3, "dog": 3})
    data = splits(wanted(root))
    assert (len(data.train), len(data.val), len(data.test)) == (50, 8, 6)
    assert set(read(data.test)[0][:, 2, 0, 0].tolist()) == {len("test")}


def test_a_limit_keeps_all_classes(root):
    classes_in(root, "val", {"cat": 20, "dog": 20})
    data = splits(wanted(root, limit=16))
    assert data.test.y.bincount().tolist() == [8, 8]
    # 18 and 27 images are left after validation's 5: 16 of 45 are 6.4 and 9.6.
    assert data.train.y.bincount().tolist() == [7, 9]


def test_channels_and_classes_are_read_from_names(root):
    assert channels_and_classes(wanted(root)) == (3, 2)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_absent_split_is_named(root, split):
    (root / split).rename(root / "elsewhere")
    with pytest.raises(InputError, match=rf"{split} not there: lay images out as SPLIT/CLASS/FILE"):
        splits(wanted(root))


def test_an_unknown_class_is_named(root):
    classes_in(root, "val", {"cow": 1})
    with pytest.raises(InputError, match=r"val/cow: no such class in train"):
        splits(wanted(root))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_class_is_named(root, split):
    classes_in(root, "test", {"cat": 3, "dog": 3})
    (root / split / "eel").mkdir()
    with pytest.raises(InputError, match=rf"{split}/eel: no "):
        splits(wanted(root))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_of_train_alone_is_named(root, split):
    classes_in(root, "test", {"cat": 3, "dog": 3})
    (root / split / "dog").rename(root / "elsewhere")
    with pytest.raises(InputError, match=rf"{split}/dog not there"):
        splits(wanted(root))


def test_the_only_image_of_a_class_is_trained_on(root):
    for split in ("train", "val"):
        classes_in(root, split, {"eel": 1})
    data = splits(wanted(root, limit=16))
    assert data.train.y.bincount().tolist()[2] == 1
    assert data.val.y.bincount(minlength=3).tolist()[2] == 0


def test_what_is_hidden_is_not_there(root):
    for hidden in ("train/cat/.ipynb_checkpoints", "train/cat/a/b/.cache", "val/.trash"):
        save(root / hidden / "000.png")
    save(root / "train/dog/._000.png")
    save(root / "train/cat/deep/down/000.png")
    data = splits(wanted(root))
    assert len(data.train) + len(data.val) == 51
    assert len(data.test) == 8


@pytest.mark.parametrize("target", [".", "..", "../..", "../dog"])
def test_folders_that_links_reach_twice_are_named(root, target):
    (root / "train/cat/link").symlink_to(target)
    with pytest.raises(InputError, match=r"train/cat/link|train/dog"):
        splits(wanted(root))


def test_links_to_elsewhere_are_followed(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "x.png")
    (root / "train/cat/link").symlink_to(elsewhere)
    data = splits(wanted(root))
    assert len(data.train) + len(data.val) == 51


def test_imagenet(tmp_path, monkeypatch):
    monkeypatch.setitem(catalogue.CHANNELS_AND_CLASSES, "imagenet", (3, 3))
    classes_in(tmp_path, "train", {"n1": 10, "n2": 10, "n3": 10})
    classes_in(tmp_path, "val", {"n1": 2, "n2": 2, "n3": 2})
    data = splits(wanted(tmp_path, name="imagenet"))
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (27, 3, 6, 3)
    assert data.val.y.bincount().tolist() == [1, 1, 1]
    monkeypatch.setitem(catalogue.CHANNELS_AND_CLASSES, "imagenet", (3, 1000))
    with pytest.raises(InputError, match=r"3 class folders, not 1000.*name: folder"):
        splits(wanted(tmp_path, name="imagenet", size=9))


def cub(root, lines=20):
    names = [f"{1 + k % 2:03}.Bird/{k}.jpg" for k in range(lines)]
    for k, name in enumerate(names):
        save(root / "images" / name, (k, k, k))
    text = {
        "images": [f"{k + 1} {name}" for k, name in enumerate(names)],
        "image_class_labels": [f"{k + 1} {1 + k % 2}" for k in range(lines)],
        "train_test_split": [f"{k + 1} {int(k < lines / 2)}" for k in range(lines)],
    }
    for name, rows in text.items():
        (root / f"{name}.txt").write_text("\n".join(rows) + "\n")


def test_cub200(tmp_path):
    cub(tmp_path)
    data = splits(wanted(tmp_path, name="cub200"))
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (9, 1, 10, 200)
    x, y = read(data.test)
    assert sorted(x[:, 0, 0, 0].tolist()) == list(range(10, 20))
    assert torch.equal(x[:, 0, 0, 0].long() % 2, y)
    (tmp_path / "images/001.Bird/0.jpg").rename(tmp_path / "lost.jpg")
    with pytest.raises(InputError, match=r"001\.Bird/0\.jpg"):
        splits(wanted(tmp_path, name="cub200", size=11))
    for line, words in (
        ("1 201", "label 201 is not one of 1 to 200"),
        ("1 2", "image 2 of images"),
    ):
        (tmp_path / "image_class_labels.txt").write_text(line)
        with pytest.raises(InputError, match=words):
            splits(wanted(tmp_path, name="cub200", size=9))
    (tmp_path / "image_class_labels.txt").unlink()
    with pytest.raises(InputError, match=r"image_class_labels.txt not there: get CUB_200_2011"):
        splits(wanted(tmp_path, name="cub200", size=10))


def test_visda17(tmp_path):
    for part, count in (("train", 20), ("validation", 6)):
        rows = []
        for k in range(count):
            save(tmp_path / part / "bus" / f"{k} a.png", (k, 0, 0))
            rows.append(f"bus/{k} a.png {k % 2}")
        (tmp_path / part / "image_list.txt").write_text("\n".join(rows))
    data = splits(wanted(tmp_path, name="visda17"))
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (18, 2, 6, 12)
    x, y = read(data.test)
    assert torch.equal(x[:, 0, 0, 0].long() % 2, y)
    (tmp_path / "train" / "image_list.txt").write_text("bus/0 a.png 12\n")
    with pytest.raises(InputError, match="label 12 is not one of 0 to 11"):
        splits(wanted(tmp_path, name="visda17", size=9))


def traffic_signs(root, tracks=12, frames=3):
    """GTSRB in torchvision's layout: two classes; an image's red is its track, its green the frame,
    its blue the class."""
    for label in (0, 42):
        for track in range(tracks):
            for frame in range(frames):
                name = f"{label:05}/{track:05}_{frame:05}.ppm"
                save(root / "GTSRB/Training" / name, (track, frame, label), (15 + track, 20))
        (root / "GTSRB/Training" / f"{label:05}" / f"GT-{label:05}.csv").write_text("not read")
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for k in range(6):
        save(root / "GTSRB/Final_Test/Images" / f"{k:05}.ppm", (k, 99, 0), (30, 18))
        rows.append(f"{k:05}.ppm;30;18;5;5;20;10;{42 * (k % 2)}")
    (root / "GT-final_test.csv").write_text("\n".join(rows) + "\n")


def test_gtsrb_holds_out_whole_tracks(tmp_path):
    traffic_signs(tmp_path)
    dataset = wanted(tmp_path, name="gtsrb", size=16)
    data = splits(dataset)
    assert data.classes == 43
    assert data.train.x.shape == (2 * 11 * 3, 3, 16, 16)
    tracks = [set(part.x[:, 0, 0, 0].tolist()) for part in (data.train, data.val)]
    assert tracks == [set(range(11)), {11}]
    for part in (data.train, data.val):
        assert torch.equal(part.x[:, 2, 0, 0].long(), part.y)
    assert data.val.y.bincount().tolist()[::42] == [3, 3]
    x, y = read(data.test)
    assert torch.equal(42 * (x[:, 0, 0, 0].long() % 2), y) and set(x[:, 1, 0, 0].tolist()) == {99}
    assert split_sizes(dataset) == (len(data.train), len(data.val), len(data.test)) == (66, 6, 6)
    assert 0 < data.mean[0] < 0.05, "measured on the training pixels"


TABLE, SIGNS = "GT-final_test.csv", "GTSRB/Training"


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (lambda root: (root / TABLE).unlink(), f"{TABLE} not there: fetch it"),
        (lambda root: (root / TABLE).write_text("a;b\n1;2\n"), "Filename and ClassId"),
        (lambda root: (root / "GTSRB/Final_Test/Images/00003.ppm").unlink(), "00003.ppm"),
        (lambda root: (root / SIGNS / "00042").rename(root / SIGNS / "43"), "label 43"),
        (lambda root: (root / SIGNS).rename(root / "t"), "Training not there: fetch it"),
    ],
)
def test_what_gtsrb_lacks_is_named(tmp_path, spoilt, words):
    traffic_signs(tmp_path)
    spoilt(tmp_path)
    with pytest.raises(InputError, match=words):
        splits(wanted(tmp_path, name="gtsrb"))


def lengths(dataset):
    parts = splits(dataset)
    return len(parts.train), len(parts.val), len(parts.test)


@pytest.mark.parametrize("name", ["mnist-mini", "digits"])
@pytest.mark.parametrize("limit", [None, 300])
def test_sizes_of_embedded_sets_are_those_of_their_splits(name, limit):
    dataset = Dataset(name=name, size=16, limit=limit)
    assert split_sizes(dataset) == lengths(dataset)


def test_sizes_of_an_npz_are_those_of_its_splits(tmp_path):
    path = tmp_path / "own.npz"
    images, labels = np.zeros((64, 8, 8, 1), np.uint8), np.arange(64) % 4
    np.savez(path, train_x=images, train_y=labels, test_x=images[:20], test_y=labels[:20])
    dataset = Dataset(name="npz", size=8, path=str(path))
    assert split_sizes(dataset) == lengths(dataset) == (58, 6, 20)


@pytest.mark.parametrize("with_test", [False, True])
def test_sizes_of_a_folder_are_those_of_its_splits(tmp_path, with_test):
    for split, count in {"train": 15, "val": 4, **({"test": 3} if with_test else {})}.items():
        for label in ("cat", "dog"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    dataset = Dataset(name="folder", size=8, path=str(tmp_path))
    assert split_sizes(dataset) == lengths(dataset)
