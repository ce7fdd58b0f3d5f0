"""A folder of images is named by its contents, read once; what cannot be used is named first."""

import os
from pathlib import Path

import pytest
from PIL import Image

from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.spec import Dataset
from tests.trainables.data.test_layouts import classes_in, save
from tuner.storage import digests
from tuner.storage.digests import contents
from tuner.storage.inputs import check, resolve


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    for split in ("train", "val"):
        classes_in(folder, split, {"a": 3, "b": 3})
    return folder


@pytest.fixture
def reads(monkeypatch):
    """Counts the images that are read."""
    read = []
    real = digests.examine
    monkeypatch.setattr(digests, "examine", lambda path: read.append(path) or real(path))
    return read


def own(root):
    return Dataset(name="folder", path=str(root), size=8)


def digest(root):
    return contents(own(root), root).digest


def on(root):
    """The quickstart on a folder's images alone."""
    study = studies.load("quickstart")
    task = study.downstream[0].model_copy(update={"dataset": own(root)})
    source = study.source.model_copy(update={"dataset": own(root)})
    return study.model_copy(update={"source": source, "downstream": (task,)})


def test_names_places_and_pixels_count(root):
    first = digest(root)
    assert resolve(on(root), root).source.dataset.sha256 == first
    moved = root / "train/a/000.png"
    moved.rename(root / "train/b/x.png")
    assert digest(root) != first
    (root / "train/b/x.png").rename(moved)
    assert digest(root) == first


def test_other_pixels_of_one_size_and_time_are_another_set(root):
    path = root / "train/a/x.bmp"
    save(path, (1, 2, 3))
    first, before = digest(root), path.stat()
    save(path, (3, 2, 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert digest(root) != first


def test_what_is_hidden_does_not_count(root):
    first = digest(root)
    (root / "train/a/.DS_Store").write_text("no image")
    (root / "train/a/.hidden.png").write_text("no image")
    save(root / "train/a/deep/.ipynb_checkpoints/000-checkpoint.png")
    save(root / "train/.trash/x.png")
    assert digest(root) == first


def test_images_are_read_once(root, reads):
    first = digest(root)
    assert len(reads) == 12
    assert digest(root) == first
    assert len(reads) == 12
    save(root / "val/b/000.png", (9, 9, 9))
    digest(root)
    assert {path.parent for path in reads[12:]} == {root / "val/b"}


@pytest.mark.parametrize("content", ["", "no cache", "[]", '{"x": 1}'])
def test_a_damaged_cache_costs_time_only(root, content, reads):
    first = digest(root)
    (cache,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("images-*.json")
    cache.write_text(content)
    assert digest(root) == first
    assert len(reads) == 24


def test_a_home_that_cannot_be_written_costs_time_only(root, monkeypatch):
    first = digest(root)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert digest(root) == first


def test_images_that_cannot_be_read_are_named_in_every_split(root):
    classes_in(root, "test", {"a": 1, "b": 1})
    bad = [root / split / "a/000.png" for split in ("train", "val", "test")]
    for path in bad:
        path.write_bytes(path.read_bytes()[:40])
    for _ in range(2):  # What is faulty is not remembered as read.
        with pytest.raises(InputError) as caught:
            resolve(on(root), root)
        assert all(str(path) in str(caught.value) for path in bad)
        assert "\n" not in str(caught.value)
    for number, path in enumerate(bad):
        save(path, (number, 0, 0))
    resolve(on(root), root)


def test_links_to_nothing_are_named(root):
    (root / "val/a/gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(InputError, match=r"val/a/gone\.png"):
        digest(root)


def test_rotations_are_announced(root):
    assert check(resolve(on(root), root)) == []
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 8)).save(root / "train/a/phone.jpg", exif=exif)
    (line,) = check(resolve(on(root), root))
    assert "1 of its images" in line and "EXIF" in line


def test_lists_count_with_their_content(tmp_path):
    for part in ("train", "validation"):
        save(tmp_path / part / "bus/1.png")
        (tmp_path / part / "image_list.txt").write_text("bus/1.png 0")
    dataset = Dataset(name="visda17", path=str(tmp_path), size=8)
    first = contents(dataset, tmp_path).digest
    (tmp_path / "validation/image_list.txt").write_text("bus/1.png 1")
    assert contents(dataset, tmp_path).digest != first
    (tmp_path / "train/image_list.txt").unlink()
    with pytest.raises(InputError, match=r"image_list\.txt not there"):
        contents(dataset, tmp_path)
