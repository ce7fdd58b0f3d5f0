"""Inputs like those that users bring: read as they are meant, or refused before anything starts."""

import shutil

import pytest
import torch

from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.spec import Checkpoint, Dataset, Model, Pretraining
from tests.support.shared_data import made_cases
from trainables.data.datasets import splits
from tuner.storage.inputs import check, resolve

# The file, and the word that names what is wrong; None where it is read.
CHECKPOINTS = {
    "compiled.pth": None,
    "compiled_in_ddp.pth": None,
    "net_holder.pth": None,
    "sparse.pth": None,
    "averaged.pth": None,
    "bn_nan.pth": "running_var.*not finite",
    "int8.pth": "int8.*quantised",
    "page.pth": "HTML page",
}


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    return made_cases(tmp_path_factory.mktemp("cases"))


def loading(path):
    """A study that starts from a checkpoint of ResNet-20 on 10 classes of colour images."""
    study = studies.load("quickstart")
    source = study.source.model_copy(
        update={
            "dataset": Dataset(name="cifar10", size=32),
            "model": Model(arch="resnet20"),
            "pretrainings": {
                "loaded": Pretraining(load=Checkpoint(format="state_dict", path=str(path)))
            },
        }
    )
    return study.model_copy(update={"source": source, "downstream": ()})


def checked(study, root, monkeypatch):
    """Remarks on a study; CIFAR-10 itself is not there."""
    monkeypatch.setattr("trainables.data.readers.require", lambda dataset: None)
    return check(resolve(study, root))


@pytest.mark.parametrize("name", list(CHECKPOINTS))
def test_checkpoints(name, cases, monkeypatch):
    study, wrong = loading(cases / "ck" / name), CHECKPOINTS[name]
    if wrong is None:
        assert checked(study, cases, monkeypatch) == []
    else:
        with pytest.raises(InputError, match=wrong) as caught:
            checked(study, cases, monkeypatch)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_every_checkpoint_that_is_made_is_tried(cases):
    assert {path.name for path in (cases / "ck").iterdir()} == set(CHECKPOINTS)


# The folder, and the words that name what is wrong; None where it is read.
FOLDERS = {
    "plain": None,
    "same_size": None,
    "damaged_test_image": "val/c0/003.jpg",
    "notebook": None,
    "empty_class": "train/zz_new",
    "single_image_class": None,
}


def reading(path):
    """A study on a folder of images."""
    study = studies.load("quickstart")
    dataset = Dataset(name="folder", path=str(path), size=16)
    source = study.source.model_copy(update={"dataset": dataset})
    task = study.downstream[0].model_copy(update={"dataset": dataset})
    return study.model_copy(update={"source": source, "downstream": (task,)})


@pytest.mark.parametrize("name", list(FOLDERS))
def test_folders(name, cases):
    study, wrong = reading(cases / "fd" / name), FOLDERS[name]
    if wrong is not None:
        with pytest.raises(InputError, match=wrong) as caught:
            resolve(study, cases)
        assert "\n" not in str(caught.value)
        return
    resolved = resolve(study, cases)
    assert check(resolved) == []
    data = splits(resolved.source.dataset)
    labels = torch.cat([data.train.y, data.val.y]).bincount()
    assert labels.tolist() == [24] * 4 + [1] * (name == "single_image_class")
    assert data.train.y.bincount(minlength=data.classes).min() > 0


def test_every_folder_that_is_made_is_tried(cases):
    assert {path.name for path in (cases / "fd").iterdir()} == set(FOLDERS)


def test_a_tiff_of_floats(cases, tmp_path):
    shutil.copytree(cases / "fd/plain", tmp_path / "own")
    shutil.copy(cases / "tiff/float_0_1.tif", tmp_path / "own/val/c1")
    with pytest.raises(InputError, match=r"float_0_1\.tif: pixels are floating"):
        resolve(reading(tmp_path / "own"), tmp_path)


def test_other_pixels_of_the_same_size_are_another_set(cases, tmp_path):
    shutil.copytree(cases / "fd/same_size", tmp_path / "own")
    first = resolve(reading(tmp_path / "own"), tmp_path).source.dataset.sha256
    for path in (tmp_path / "own").rglob("*.bmp"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert resolve(reading(tmp_path / "own"), tmp_path).source.dataset.sha256 != first
