"""A file is there whole or not at all."""

import errno
import os

import pytest

from tests.support.faulty_storage import faulty
from trainables.store import atomic


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


def test_a_file_takes_the_place_of_an_earlier_one(folder):
    for content in (b"\x00\xff", "ü"):
        atomic.write(folder / "file.json", content)
    assert (folder / "file.json").read_text(encoding="utf-8") == "ü"
    assert [path.name for path in folder.iterdir()] == ["file.json"]


@pytest.mark.parametrize("lasting", [False, True])
def test_whatever_fails_the_earlier_one_stays_whole(folder, lasting):
    path = folder / "file.json"
    with faulty(folder) as plan:
        atomic.write(path, b"before")
    for at in range(len(plan.seen)):
        with faulty(folder, at=at, number=errno.ENOSPC, lasting=lasting) as broken:
            with pytest.raises(OSError, match="No space"):
                atomic.write(path, b"after, and longer")
            assert broken.fired
        assert path.read_bytes() == b"before" and os.listdir(folder) == ["file.json"]


def test_a_folder_that_has_gone_is_not_made_anew(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic.write(tmp_path / "gone" / "file.json", b"")
    assert list(tmp_path.iterdir()) == []
