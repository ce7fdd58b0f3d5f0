"""Streamed image folders: file formats, the same images however they are read, never all."""

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces.errors import InputError
from search_spaces.regimes import Recipe, Regime
from search_spaces.spec import Dataset, Model
from tests.support.paths import ROOT
from trainables.data import folders
from trainables.data.datasets import splits
from trainables.data.folders import WORKERS, decode, folder, loader_workers
from trainables.data.image_files import SUFFIXES, examine
from trainables.models import networks
from trainables.runtime.seeding import generator
from trainables.training.loop import fit, snapshot


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch):
    monkeypatch.setenv(WORKERS, "0")
    splits.cache_clear()


def noise(path, seed, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def noisy(tmp_path):
    for k in range(12):
        noise(tmp_path / f"{k}.png", k)
    listing = [(f"{k}.png", k % 3) for k in range(12)]
    return lambda view: folder(tmp_path, listing, 8, view)


@pytest.mark.parametrize("view", ["resize", "crop", "wide_crop"])
def test_the_number_of_loader_processes_changes_nothing(noisy, view, monkeypatch):
    images = noisy(view)
    batches = torch.randperm(12).split(5)
    found = []
    for workers in ("0", "1", "2"):
        monkeypatch.setenv(WORKERS, workers)
        state = torch.get_rng_state()
        found.append(list(images.stream(batches, seed=3)))
        assert torch.equal(torch.get_rng_state(), state)
    for batch, *read in zip(batches, *found, strict=True):
        assert all(torch.equal(r.x, read[0].x) for r in read)
        assert torch.equal(read[0].y, batch % 3)


def test_views_depend_on_the_seed_and_the_image_alone(noisy):
    images = noisy("crop")
    (whole,) = images.stream([torch.arange(12)], seed=3)
    (part,) = images[torch.tensor([7, 2])][1:].stream([torch.tensor([0])], seed=3)
    assert torch.equal(part.x[0], whole.x[2])
    (other,) = images.stream([torch.arange(12)], seed=4)
    assert not torch.equal(other.x, whole.x)
    (plain,), (again,) = (
        images.stream([torch.arange(12)], None),
        noisy("resize").stream([torch.arange(12)], 3),
    )
    assert not torch.equal(plain.x, again.x)


def test_only_the_batches_asked_for_are_read(noisy, monkeypatch):
    opened = []
    real = Image.open
    monkeypatch.setattr(
        folders.Image, "open", lambda path, *rest: opened.append(path) or real(path, *rest)
    )
    images = noisy("crop")
    part = images[torch.arange(8)].to("cpu")[:6]
    assert (len(part), opened) == (6, [])
    stream = part.stream(torch.arange(6).split(2), 0)
    assert opened == []
    next(stream)
    assert len(opened) == 2


def test_views_by_hand(tmp_path):
    # Left half black, right half white, 16 high and 32 wide.
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    path = tmp_path / "halves.png"
    Image.fromarray(pixels).save(path)
    whole = decode(path, 8, "resize", None)
    assert whole.shape == (3, 8, 8)
    assert whole[0, :, 0].tolist() == [0] * 8 and whole[0, :, 7].tolist() == [255] * 8
    # The central 14 x 14 spans columns 9 to 23; seen at its own scale it is copied pixel by pixel.
    assert np.array_equal(decode(path, 14, "crop", None)[0], pixels[1:15, 9:23, 0])
    whole = decode(path, 14, "resize", None)
    assert np.array_equal(decode(path, 14, "wide_crop", None), whole)
    assert not np.array_equal(decode(path, 14, "wide_crop", generator(0, "test")), whole)
    views = {decode(path, 8, "crop", generator(seed, "test")).tobytes() for seed in range(20)}
    assert len(views) > 10


def test_all_kinds_of_files_become_rgb(tmp_path):
    Image.new("L", (9, 9), 77).save(tmp_path / "grey.png")
    Image.fromarray(np.full((9, 9), 77 * 256 + 5, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (9, 9), (77, 77, 77, 100)).save(tmp_path / "alpha.png")
    Image.new("LA", (9, 9), (77, 9)).save(tmp_path / "grey_alpha.png")
    palette = Image.new("P", (9, 9), 1)
    palette.putpalette([0, 0, 0, 77, 77, 77])
    palette.save(tmp_path / "palette.png", transparency=b"\x00\x80")
    palette.save(tmp_path / "palette.gif")
    Image.new("RGB", (9, 9), (77, 77, 77)).save(tmp_path / "photo.jpg", quality=95)
    for path in tmp_path.iterdir():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *words, **_: pytest.fail(str(words)))
            assert np.array_equal(decode(path, 8, "resize", None), np.full((3, 8, 8), 77)), path


AMBIGUOUS = {
    "float": np.linspace(0, 1, 81, dtype=np.float32).reshape(9, 9),
    "32-bit": np.full((9, 9), 1 << 20, np.int32),
}


@pytest.mark.parametrize("kind", list(AMBIGUOUS))
def test_pixels_of_no_stated_range_are_refused(kind, tmp_path):
    path = tmp_path / "grey.tif"
    Image.fromarray(AMBIGUOUS[kind]).save(path)
    assert kind in examine(path).wrong
    with pytest.raises(InputError, match=kind):
        decode(path, 8, "resize", None)


def test_sixteen_bits_are_read_by_their_high_byte(tmp_path):
    grey = np.full((9, 9), 77 * 256 + 5, np.uint16)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(grey).save(tmp_path / name)
    (tmp_path / "grey.pgm").write_bytes(b"P5 9 9 65535\n" + grey.astype(">u2").tobytes())
    for path in tmp_path.iterdir():
        assert examine(path).wrong is None
        assert np.array_equal(decode(path, 8, "resize", None), np.full((3, 8, 8), 77)), path


def test_a_rotation_in_the_exif_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255
    path = tmp_path / "phone.png"
    Image.fromarray(pixels).save(path, exif=exif)
    assert examine(path).rotated
    assert np.array_equal(decode(path, 8, "resize", None), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_what_is_cut_off_is_noticed_and_what_is_whole_is_not(suffix, tmp_path):
    path = tmp_path / f"image{suffix}"
    noise(path, 0, (64, 64))
    if suffix == ".pgm":
        Image.open(path).convert("L").save(path)
    assert examine(path).wrong is None
    content = path.read_bytes()
    assert examine(path).sha256 == hashlib.sha256(content).hexdigest()
    for part in (0, 10, len(content) // 2, len(content) - len(content) // 10):
        path.write_bytes(content[:part])
        assert str(path) in examine(path).wrong


SMALL = """
import sys
import torch
from pathlib import Path
from trainables.data.folders import folder
root = Path(sys.argv[1])
names = sorted(path.name for path in root.iterdir())
images = folder(root, [(name, 0) for name in names], 256, "resize")
for batch in images.stream([torch.arange(12)] * 8, None):
    print(len(batch))
"""


def test_a_small_shared_memory_holds_nothing_up(noisy, tmp_path):
    """As in a container: less shared memory than a batch takes."""
    inside = 'mount -t tmpfs -o size=1m none /dev/shm && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", inside, "sh"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("a /dev/shm of its own takes user namespaces (unshare -rm)")
    program = [sys.executable, "-c", SMALL, str(tmp_path)]
    done = subprocess.run(
        [*command, *program],
        cwd=ROOT,
        env={**os.environ, WORKERS: "2"},
        timeout=100,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["12"] * 8


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_damaged_file_is_named_in_one_line(tmp_path, workers, monkeypatch):
    monkeypatch.setenv(WORKERS, workers)
    noise(tmp_path / "good.jpg", 0, (64, 64))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:900])
    images = folder(tmp_path, [("good.jpg", 0), ("cut.jpg", 1)], 8, "resize")
    stream = images.stream(torch.arange(2).split(1), None)
    next(stream)
    with pytest.raises(InputError, match=r"image .*/cut.jpg: cannot be read \(OSError") as caught:
        next(stream)
    assert "Traceback" not in str(caught.value)


def test_no_image_at_all_is_damaged_too(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "absent.png"):
        with pytest.raises(InputError, match=name):
            decode(tmp_path / name, 8, "resize", None)


def test_loader_workers(monkeypatch):
    monkeypatch.delenv(WORKERS)
    for cpus, expected in ((1, 0), (3, 2), (64, 16)):
        monkeypatch.setattr(folders.os, "sched_getaffinity", lambda _, cpus=cpus: set(range(cpus)))
        assert loader_workers() == expected
    for text in ("-1", "many", "", "1.5"):
        monkeypatch.setenv(WORKERS, text)
        with pytest.raises(InputError, match=WORKERS):
            loader_workers()


@pytest.mark.parametrize("view", ["resize", "crop", "wide_crop"])
def test_training_and_judging_read_folders(tmp_path, view, evaluation):
    for k in range(60):
        split = "train" if k < 40 else "val"
        noise(tmp_path / split / "ab"[k % 2] / f"{k}.png", k)
    data = splits(Dataset(name="folder", path=str(tmp_path), size=8, view=view))
    states = []
    for _ in range(2):
        net = networks.build(Model(arch="resnet8", width=2), 2, data.mean, data.std, 0)
        regime = Regime(recipe=Recipe(epochs=2, batch_size=16, lr=0.1))
        _, last = fit(net, data, regime, 0, evaluation)
        assert last.val is not None
        states.append(snapshot(net))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
