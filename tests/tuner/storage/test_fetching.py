"""What is fetched writes nothing outside its folder."""

import hashlib
import io
import tarfile

import pytest
from torchvision.datasets import CIFAR10, gtsrb

from search_spaces.errors import InputError
from tests.support.studies import tiny
from tests.trainables.data.test_layouts import traffic_signs
from trainables.data.catalogue import file_sha256
from tuner.storage.fetching import fetch


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 4 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "planted",
    [
        member("../outside"),
        member("inside/../../outside"),
        member("link", tarfile.SYMTYPE, ".."),
        member("link", tarfile.SYMTYPE, "/tmp"),
        member("hard", tarfile.LNKTYPE, "../secret"),
        member("pipe", tarfile.FIFOTYPE),
        member("/tmp/double-win-outside"),
    ],
    ids=lambda planted: planted.name + planted.linkname,
)
def test_an_archive_that_reaches_out_of_its_folder_is_refused(planted, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("mine")
    archive = tmp_path / "data" / CIFAR10.filename
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.addfile(planted, io.BytesIO(b"evil"))
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    colours = "{name: cifar10, size: 8}"
    study = tiny(f"source.dataset={colours}", f"downstream.0.dataset={colours}")
    digest = file_sha256(archive)
    with pytest.raises(InputError, match=archive.name):
        fetch(study, tmp_path / "data")
    assert file_sha256(archive) == digest
    assert {path.name for path in tmp_path.iterdir()} == {"secret", "data"}
    assert (tmp_path / "secret").read_text() == "mine"
    inside = {path.name for path in (tmp_path / "data").iterdir()}
    assert inside <= {archive.name, ".lock", "tmp"}
    assert getattr(tarfile.TarFile, "extraction_filter", None) is None, "as it was before"


def test_traffic_signs_are_fetched_once(tmp_path, monkeypatch):
    fetched = []

    def unpack(url, download_root, md5):
        fetched.append(url.rsplit("/", 1)[-1])
        assert len(md5) == 32 and download_root == str(tmp_path / "data" / "gtsrb")
        if not (tmp_path / "data/gtsrb/GTSRB").exists():
            traffic_signs(tmp_path / "data/gtsrb")
        if "Training" in url:
            (tmp_path / "data/gtsrb/GTSRB/Final_Test").rename(tmp_path / "later")
        elif "Images" in url:
            (tmp_path / "later").rename(tmp_path / "data/gtsrb/GTSRB/Final_Test")

    monkeypatch.setattr(gtsrb, "download_and_extract_archive", unpack)
    signs = "{name: gtsrb, size: 16}"
    study = tiny(f"source.dataset={signs}", f"downstream.0.dataset={signs}")
    for _ in range(2):
        (line,) = fetch(study, tmp_path / "data")
        assert line.startswith("gtsrb: ") and str(tmp_path / "data" / "gtsrb") in line
    assert fetched == [
        "GTSRB-Training_fixed.zip",
        "GTSRB_Final_Test_Images.zip",
        "GTSRB_Final_Test_GT.zip",
    ]


def test_traffic_signs_that_cannot_be_fetched_say_what_to_put_where(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(gtsrb, "download_and_extract_archive", unreachable)
    signs = "{name: gtsrb, size: 16}"
    study = tiny(f"source.dataset={signs}", f"downstream.0.dataset={signs}")
    with pytest.raises(InputError) as caught:
        fetch(study, tmp_path)
    file = tmp_path / "gtsrb" / "GTSRB-Training_fixed.zip"
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
