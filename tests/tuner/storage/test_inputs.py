"""A study's files: found, named by content, fetched once."""

import tarfile
import threading
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10
from torchvision.datasets import utils as torchvision_utils

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint
from search_spaces.reading import studies
from search_spaces.spec import Dataset, Pretraining
from search_spaces.study import ChosenCheck
from tests.trainables.data.test_readers import write_cifar, write_npz
from trainables.data.catalogue import file_sha256
from trainables.models import networks
from tuner.storage.fetching import fetch
from tuner.storage.inputs import check, places, resolve

needs_checked_archives = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="Python unpacks archives unchecked before 3.11.4"
)


@pytest.fixture
def study():
    return studies.load("quickstart")


def on(study, source, *downstream):
    """The study with other data."""
    tasks = [study.downstream[0].model_copy(update={"dataset": d}) for d in downstream]
    changed = study.source.model_copy(update={"dataset": source})
    return study.model_copy(update={"source": changed, "downstream": tuple(tasks)})


def own(path, **fields):
    return Dataset(name="npz", path=str(path), size=8, **fields)


def test_embedded_data_needs_nothing(study, tmp_path):
    assert resolve(study, tmp_path) == study
    assert places(study) == []
    assert all("comes with the program" in line for line in fetch(study, tmp_path))


def test_paths_start_at_the_data_folder_and_checksums_are_filled_in(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    path = write_npz(tmp_path / "data" / "own.npz")
    cifar = Dataset(name="cifar10", size=32)
    found = resolve(on(study, cifar, own("own.npz", label="mine")), Path("data"))
    assert found.source.dataset.path == str(tmp_path / "data")
    mine = found.downstream[0].dataset
    assert (mine.path, mine.sha256) == (str(path), file_sha256(path))
    assert resolve(found, tmp_path) == found
    assert places(found) == [str(tmp_path / "data"), str(path)]


def test_other_content_is_refused(study, tmp_path):
    path = write_npz(tmp_path / "own.npz")
    with pytest.raises(InputError, match=f"sha256 {file_sha256(path)}, the study says {'0' * 64}"):
        resolve(on(study, own(path), own(path, sha256="0" * 64)), tmp_path)
    with pytest.raises(InputError, match=r"gone.npz not there: write arrays"):
        resolve(on(study, own(path), own(tmp_path / "gone.npz")), tmp_path)
    digits = Dataset(name="digits", size=8, sha256="0" * 64)
    with pytest.raises(InputError, match="sha256 is for files of your own"):
        resolve(on(study, digits, digits), tmp_path)


def test_channels_must_agree(study, tmp_path):
    grey = np.zeros((12, 8, 8, 1), np.uint8)
    train = np.zeros((40, 8, 8, 1), np.uint8)
    path = write_npz(tmp_path / "grey.npz", train_x=train, test_x=grey)
    colour = Dataset(name="svhn", size=32)
    with pytest.raises(InputError, match=r"downstream.1: npz has 1 colour channels.*svhn has 3"):
        resolve(on(study, colour, colour, own(path)), tmp_path)


def test_weights_are_named_by_their_content(study, tmp_path):
    def loading(**fields):
        load = Checkpoint(format="state_dict", path=str(tmp_path / "net.pt"), **fields)
        named = {"loaded": Pretraining(load=load)}
        source = study.source.model_copy(update={"pretrainings": named})
        return study.model_copy(update={"source": source})

    with pytest.raises(InputError, match=r"no weights file .*net.pt"):
        resolve(loading(), tmp_path)
    (tmp_path / "net.pt").write_bytes(b"weights")
    found = resolve(loading(), tmp_path).source.pretrainings["loaded"].load
    assert found.sha256 == file_sha256(tmp_path / "net.pt")
    assert places(resolve(loading(), tmp_path)) == [str(tmp_path / "net.pt")]
    with pytest.raises(InputError, match="the study says"):
        resolve(loading(sha256="0" * 64), tmp_path)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small CIFAR-10 archive behind torchvision's URL; returns the list of downloads."""
    write_cifar(tmp_path / "origin", monkeypatch)
    archive = tmp_path / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "origin" / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "tgz_md5", torchvision_utils.calculate_md5(archive))
    downloads = []

    def retrieve(url, filename, chunk_size=0):
        downloads.append(url)
        with open(filename, "wb") as file:
            file.write(archive.read_bytes())

    monkeypatch.setattr(torchvision_utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(torchvision_utils, "_urlretrieve", retrieve)
    return downloads


@needs_checked_archives
def test_published_sets_are_fetched_once(study, tmp_path, published):
    cifar = Dataset(name="cifar10", size=32)
    wanted, root = on(study, cifar, cifar), tmp_path / "data"
    with pytest.raises(InputError, match="python -m tuner data STUDY"):
        check(resolve(wanted, root))
    lines = []
    callers = [threading.Thread(target=lambda: lines.extend(fetch(wanted, root))) for _ in "ab"]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert published == [CIFAR10.url]
    assert sorted(lines) == [f"cifar10: {word} in {root}" for word in ("fetched", "verified")]
    check(resolve(wanted, root))


@needs_checked_archives
def test_without_network_it_says_how_to_do_it_by_hand(study, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision_utils, "_get_redirect_url", refuse)
    cifar = Dataset(name="cifar10", size=32)
    with pytest.raises(InputError) as caught:
        fetch(on(study, cifar, cifar), tmp_path)
    text = str(caught.value)
    assert "cannot fetch cifar-10-python.tar.gz" in text and "no route to host" in text
    assert f"download {CIFAR10.url} and put it at {tmp_path}/cifar-10-python.tar.gz" in text


def test_surrogates_are_found_and_verified_like_other_weights(study, tmp_path):
    (tmp_path / "robust.pt").write_bytes(b"weights")
    surrogate = {
        "kind": "transfer_attack",
        "attack": {"kind": "pgd", "epsilon": 0.1, "alpha": 0.05, "steps": 2},
        "model": {"arch": "resnet8"},
        "load": {"format": "state_dict", "path": "robust.pt"},
    }
    task = study.downstream[0].model_copy(
        update={"checks": (ChosenCheck.model_validate({"check": surrogate}),)}
    )
    found = resolve(study.model_copy(update={"downstream": (task,)}), tmp_path)
    load = found.downstream[0].checks[0].check.load
    assert load.path == str(tmp_path / "robust.pt")
    assert load.sha256 == file_sha256(tmp_path / "robust.pt")
    assert places(found) == [str(tmp_path / "robust.pt")]
    (tmp_path / "robust.pt").unlink()
    with pytest.raises(InputError, match="no weights file"):
        resolve(study.model_copy(update={"downstream": (task,)}), tmp_path)


def test_autoattack_is_refused_early_where_it_cannot_run(study, tmp_path, monkeypatch):
    chosen = ChosenCheck.model_validate({"check": {"kind": "autoattack", "epsilon": 0.1}})
    task = study.downstream[0].model_copy(update={"checks": (chosen,)})
    asked = study.model_copy(update={"downstream": (task,)})
    monkeypatch.setattr("tuner.storage.inputs.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pyautoattack is not installed"):
        check(asked)
    monkeypatch.setattr("tuner.storage.inputs.find_spec", lambda name: object())
    check(asked)
    monkeypatch.setattr("tuner.storage.inputs.channels_and_classes", lambda dataset: (1, 3))
    with pytest.raises(InputError, match="at least 4 classes"):
        check(asked)


def test_a_theta_that_is_sparse_already_says_so(study, tmp_path):
    dataset, model = study.source.dataset, study.source.model
    state = networks.build(model, 10, [0.5], [0.5], seed=0).state_dict()

    def remarks():
        torch.save(state, tmp_path / "net.pt")
        load = Checkpoint(format="state_dict", path=str(tmp_path / "net.pt"))
        source = study.source.model_copy(update={"pretrainings": {"bare": Pretraining(load=load)}})
        return check(resolve(study.model_copy(update={"source": source}), tmp_path))

    assert dataset.name == "mnist-mini"
    assert remarks() == []
    for value in state.values():
        if value.dim() == 4:
            value[:, ::2] = 0
    (line,) = remarks()
    assert "bare" in line and " % " in line
