"""Images with masks: both layouts, folders and zip files, boxes, void, splits, faults."""

import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces.errors import InputError
from search_spaces.spec import Dataset
from tests.support.shared_data import shared
from tests.support.squares import squares, zipped
from trainables.data import pairs
from trainables.data.datasets import splits
from trainables.data.instances import VOID, boxes, objects, targets
from trainables.data.layouts import split_sizes


def dataset(path, name="masks", size=32, **fields):
    return Dataset(name=name, size=size, path=str(path), **fields)


def test_objects_are_numbered_from_one_and_void_is_apart():
    numbers = np.array([[0, 9, 9], [4, 4, VOID], [4, 0, 7]])
    classes = np.array([[0, 2, 255], [5, 5, 255], [3, 0, 255]])
    y = targets(numbers, classes, 3)
    assert y.tolist() == [
        [[0, 3, 3], [1, 1, VOID], [1, 0, VOID]],  # 7 has no pixel of a known class
        [[0, 2, 2], [5, 5, 0], [5, 0, 0]],
    ]
    masks, names = objects(y)
    assert names.tolist() == [5, 2]
    assert masks[1].tolist() == [[False, True, True], [False] * 3, [False] * 3]


def test_without_classes_all_objects_are_of_one():
    masks, names = objects(targets(np.array([[1, 0], [0, 300]], np.uint16), None, 2))
    assert names.tolist() == [1, 1] and masks.sum() == 2


def test_maps_are_sampled_not_mixed():
    numbers = np.repeat(np.repeat(np.array([[1, 0], [0, 2]]), 4, 0), 4, 1)
    assert targets(numbers, None, 2)[0].tolist() == [[1, 0], [0, 2]]


def test_boxes_reach_from_edge_to_edge():
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:5] = True
    masks[1, 3, 5] = True
    assert boxes(masks).tolist() == [[2, 1, 5, 3], [5, 3, 6, 4]]
    assert boxes(masks[:0]).shape == (0, 4)


def test_a_zip_file_is_read_as_its_folder(tmp_path):
    packed = zipped(tmp_path / "squares.zip", 10)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "squares")
    folder = dataset(tmp_path / "squares")
    assert pairs.digest(folder) == pairs.digest(dataset(packed))
    one, other = splits(dataset(packed)), splits(folder)
    sizes = [len(part) for part in (one.train, one.val, one.test)]
    assert sizes == list(split_sizes(folder)) == [7, 1, 2]
    assert one.classes == 1 and len(one.mean) == 3
    assert torch.equal(one.train.x, other.train.x) and torch.equal(one.test.y, other.test.y)
    x, maps = squares(10)
    every = torch.cat([one.train.x, one.val.x, one.test.x]).permute(0, 2, 3, 1)
    found = torch.cat([one.train.y, one.val.y, one.test.y])[:, 0]
    place = [(torch.from_numpy(x) == image).flatten(1).all(1).nonzero().item() for image in every]
    assert sorted(place) == list(range(10))
    assert torch.equal(found == 2, torch.from_numpy(maps[place] == 700))


def voc(folder, train, val):
    """VOC's layout out of three of its images, lists added."""
    with zipfile.ZipFile(shared("voc_labelme_3img.zip")) as archive:
        archive.extractall(folder)
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, listed in (("train", train), ("val", val)):
        (lists / f"{name}.txt").write_text("\n".join(listed) + "\n")
    return folder


def test_voc_as_torchvision_lays_it_out(tmp_path):
    names = ["2011_000003", "2011_000006", "2011_000025"]
    root = voc(tmp_path, names, names[:2])
    read = splits(dataset(root, "voc", size=64))
    assert [len(part) for part in (read.train, read.val, read.test)] == [2, 1, 2]
    assert read.classes == 20
    masks, classes = objects(read.test.y[0])
    assert len(masks) == 3 and set(classes.tolist()) <= {5, 15}
    there = np.asarray(Image.open(root / "SegmentationObject" / "2011_000003.png"))
    assert abs(float(masks[0].float().mean()) - (there == 1).mean()) < 0.01


def test_nuclei_as_they_come():
    read = splits(dataset(shared("nuclei_dsb2018_small.zip"), size=64, limit=16))
    assert [len(part) for part in (read.train, read.val, read.test)] == [16, 10, 16]
    assert int(read.train.y[:, 0].max()) > 5


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: shutil.rmtree(root / "images"), "images not there"),
        (lambda root: (root / "masks" / "3.png").unlink(), "3.png not there"),
        (lambda root: (root / "masks" / "3.png").write_bytes(b"no"), "3.png: cannot be read"),
        (lambda root: Image.new("L", (9, 9)).save(root / "masks" / "3.png"), "its image's"),
    ],
)
def test_faults_are_named(tmp_path, spoil, said):
    with zipfile.ZipFile(zipped(tmp_path / "squares.zip", 6)) as archive:
        archive.extractall(tmp_path / "squares")
    spoil(tmp_path / "squares")
    with pytest.raises(InputError, match=said):
        splits(dataset(tmp_path / "squares"))


def test_what_is_neither_folder_nor_zip(tmp_path):
    (tmp_path / "file").write_text("no")
    for path in (tmp_path / "file", tmp_path / "absent"):
        with pytest.raises(InputError, match=str(path)):
            splits(dataset(path))
