"""Data sets of the user's own: functions that return arrays."""

import sys

import numpy as np
import pytest
import torch
import yaml

from search_spaces.errors import InputError
from search_spaces.spec import Dataset
from tests.support.pages import as_mine, blocks
from tests.support.studies import tiny
from trainables.data import own
from trainables.data.catalogue import channels_and_classes, image_size
from trainables.data.datasets import splits
from trainables.data.layouts import split_sizes
from tuner.storage.inputs import check, resolve


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The page's own data set, as a user has it."""
    (code,) = (code for code in blocks("data.md", "python") if "mine.py" in code)
    for cached in (own.arrays, splits, split_sizes):
        cached.cache_clear()
    yield from as_mine(code, tmp_path, monkeypatch)
    own.arrays.cache_clear()


@pytest.fixture
def dataset():
    (text,) = (text for text in blocks("data.md", "yaml") if "mine:" in text)
    return Dataset.model_validate(yaml.safe_load(text)["dataset"])


def with_source(dataset):
    study = tiny()
    source = study.source.model_copy(update={"dataset": dataset})
    return study.model_copy(update={"source": source})


def test_the_pages_own_data_set_works_as_printed(mine, dataset, tmp_path):
    known = resolve(with_source(dataset), tmp_path)
    check(known)
    found = known.source.dataset
    assert (found.title, found.path, len(found.sha256)) == ("early_or_late", None, 64)
    assert (channels_and_classes(found), image_size(found)) == ((1, 2), 8)
    parts = splits(found)
    assert tuple(map(len, (parts.train, parts.val, parts.test))) == split_sizes(found)
    assert split_sizes(found) == (1350, 150, 297)


def test_it_reads_as_the_same_arrays_in_a_file(mine, dataset, tmp_path):
    np.savez(tmp_path / "same.npz", **own.arrays(dataset.name))
    file = Dataset(name="npz", size=8, path=str(tmp_path / "same.npz"))
    for split in ("train", "val", "test"):
        one, other = getattr(splits(dataset), split), getattr(splits(file), split)
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)


def test_it_is_known_by_what_it_returns(mine, dataset, tmp_path):
    def digest():
        own.arrays.cache_clear()
        sys.modules.pop("mine", None)
        return own.digest(dataset.name)

    before, code = digest(), mine.read_text()
    mine.write_text(code + "# a longer file\n")
    assert digest() == before
    mine.write_text(code.replace("> 4", "> 5"))
    assert digest() != before
    stated = dataset.model_copy(update={"sha256": before})
    splits.cache_clear()
    with pytest.raises(InputError, match="early_or_late"):
        splits(stated)
    with pytest.raises(InputError, match=before):
        resolve(with_source(stated), tmp_path)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("return None", "train_x"),
        ("return {'train_x': [1]}", "train_x"),
        ("raise OSError('no network')", "no network"),
        ("x = np.zeros((9, 8, 8)); y = np.arange(9) % 2; return pack(x, y)", "not uint8"),
        ("x = np.zeros((9, 8, 8, 1), 'uint8'); y = np.arange(9) + 1; return pack(x, y)", "from 1"),
    ],
)
def test_what_is_no_data_set_is_refused_in_one_line(mine, dataset, tmp_path, body, named):
    pack = "pack = lambda x, y: dict(train_x=x, train_y=y, test_x=x, test_y=y)"
    mine.write_text(f"import numpy as np\n{pack}\ndef early_or_late():\n    {body}\n")
    with pytest.raises(InputError, match=named) as refused:
        resolve(with_source(dataset), tmp_path)
    assert "early_or_late" in str(refused.value) and "\n" not in str(refused.value)


def test_it_has_no_path():
    with pytest.raises(ValueError, match="path"):
        Dataset(name="mine:early_or_late", size=8, path="here")
