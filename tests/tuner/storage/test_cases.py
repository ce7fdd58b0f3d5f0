"""Inputs like those that users bring: read as they are meant, or refused before anything starts."""

import shutil

import pytest
import torch

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint
from search_spaces.reading import studies
from search_spaces.spec import Dataset, Model, Pretraining
from tests.support.shared_data import made_cases
from trainables.data.datasets import splits
from tuner.storage.inputs import check, resolve

# What is made, and the words that name what is wrong with it; None where it is read.
CASES = {
    "ck/compiled.pth": None,
    "ck/compiled_in_ddp.pth": None,
    "ck/net_holder.pth": None,
    "ck/sparse.pth": None,
    "ck/averaged.pth": None,
    "ck/bn_nan.pth": r"bn_nan\.pth.*running_var.*not finite",
    "ck/int8.pth": r"int8\.pth.*int8.*quantised",
    "ck/page.pth": r"page\.pth.*HTML page",
    "fd/plain": None,
    "fd/same_size": None,
    "fd/damaged_test_image": "val/c0/003.jpg",
    "fd/notebook": None,
    "fd/empty_class": "train/zz_new",
    "fd/single_image_class": None,
    "tiff/float_0_1.tif": r"float_0_1\.tif: pixels are floating",
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


def reading(path):
    """A study on a folder of images."""
    study = studies.load("quickstart")
    dataset = Dataset(name="folder", path=str(path), size=16)
    source = study.source.model_copy(update={"dataset": dataset})
    task = study.downstream[0].model_copy(update={"dataset": dataset})
    return study.model_copy(update={"source": source, "downstream": (task,)})


def using(made, own):
    """A study that uses what was made; an image is put among sound ones, into the folder `own`."""
    if made.parent.name == "ck":
        return loading(made)
    if made.parent.name == "fd":
        return reading(made)
    shutil.copytree(made.parents[1] / "fd/plain", own)
    shutil.copy(made, own / "val/c1")
    return reading(own)


def test_everything_that_is_made_is_tried(cases):
    assert {str(path.relative_to(cases)) for path in cases.glob("*/*")} == set(CASES)


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_made_is_read_as_it_is_meant_or_refused_in_a_line(
    name, cases, tmp_path, monkeypatch
):
    study, wrong = using(cases / name, tmp_path / "own"), CASES[name]
    if name.startswith("ck/"):  # CIFAR-10 itself is not there.
        monkeypatch.setattr("trainables.data.readers.require", lambda dataset: None)
    if wrong is not None:
        with pytest.raises(InputError, match=wrong) as caught:
            check(resolve(study, cases))
        assert "\n" not in str(caught.value)
        return
    resolved = resolve(study, cases)
    assert check(resolved) == []
    if name.startswith("fd/"):
        data = splits(resolved.source.dataset)
        labels = torch.cat([data.train.y, data.val.y]).bincount()
        assert labels.tolist() == [24] * 4 + [1] * (name == "fd/single_image_class")
        assert data.train.y.bincount(minlength=data.classes).min() > 0


def test_other_pixels_of_the_same_size_are_another_set(cases, tmp_path):
    shutil.copytree(cases / "fd/same_size", tmp_path / "own")
    first = resolve(reading(tmp_path / "own"), tmp_path).source.dataset.sha256
    for path in (tmp_path / "own").rglob("*.bmp"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert resolve(reading(tmp_path / "own"), tmp_path).source.dataset.sha256 != first
