"""Fetching what is published, verified, and unpacked nowhere else."""

import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from search_spaces.errors import InputError
from search_spaces.networks import BY_NAME, Checkpoint
from search_spaces.own import is_own
from search_spaces.spec import Dataset
from search_spaces.study import Study
from trainables.data.catalogue import EMBEDDED, TORCHVISION, file_sha256
from tuner.storage import downloads
from tuner.storage.inputs import datasets, resolve, same

TIMEOUT = 60.0


def fetch(study: Study, root: Path) -> list[str]:
    """Downloads what a study needs and torchvision knows, verifies checksums, and says what there
    is, a line each. Callers at the same time wait for each other and download once.

    Raises InputError if something cannot be fetched, or the user's own files are not there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"data folder {root}: cannot be made ({error.strerror}): choose another --data"
        ) from None
    # Freed by the system when its holder ends, however it does.
    with FileLock(root / ".lock"):
        by_name = _by_name(study, root)
        if any(each.name == "gtsrb" and each.path is None for each in datasets(study)):
            _gtsrb(root)
        study = resolve(study, root)
        lines = [_fetched(dataset) for dataset in datasets(study)]
        for name, pretraining in study.source.pretrainings.items():
            if pretraining.load is not None:
                lines.append(by_name.get(name) or _weights(name, pretraining.load, study))
    return lines


def _fetched(dataset: Dataset) -> str:
    if dataset.name in EMBEDDED:
        return f"{dataset.title}: comes with the program"
    if is_own(dataset.name):
        return f"{dataset.title}: what {dataset.name} returns, sha256 {dataset.sha256}"
    if dataset.name not in TORCHVISION:
        return f"{dataset.title}: {dataset.path}, sha256 {dataset.sha256}"
    from trainables.data.readers import published_files, torchvision_class

    root = Path(dataset.path or "")
    kind = torchvision_class(dataset.name)
    there = all(path.is_file() for path in published_files(dataset.name, root))
    if dataset.name == "svhn":
        for split in ("train", "test"):
            url, file, _ = kind.split_list[split]
            _download(kind, {"split": split}, url, root / file)
    else:
        _download(kind, {}, kind.url, root / kind.filename)
    return f"{dataset.title}: {'verified' if there else 'fetched'} in {root}"


_GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"


def _gtsrb(root: Path) -> None:
    """Has torchvision fetch and unpack GTSRB's archives, unless their images are there. It compares
    their md5 before it unpacks them."""
    from torchvision.datasets import GTSRB

    archives = {"train": "GTSRB-Training_fixed.zip", "test": "GTSRB_Final_Test_Images.zip"}
    for split, archive in archives.items():
        with _remedied(_GTSRB + archive, root / "gtsrb" / archive):
            GTSRB(root, split=split, download=True)


def _download(kind: Any, arguments: dict[str, str], url: str, file: Path) -> None:
    """Has torchvision fetch one archive, unless what it holds is there and has the right md5."""
    with _remedied(url, file):
        kind(file.parent, download=True, **arguments)


@contextmanager
def _kept_inside() -> Iterator[None]:
    """Archives are unpacked below their folder only: a member with another path, a link that leads
    out of it or a device ends the unpacking. (torchvision checks what the archive is before that.)
    Raises RuntimeError where Python has no such check.
    """
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError("Python unpacks archives unchecked before 3.11.4")
    before = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


@contextmanager
def _remedied(url: str, file: Path) -> Iterator[None]:
    """Turns failed downloads into one line that says how to do it by hand."""
    before = socket.getdefaulttimeout()
    # torchvision sets none: without one, a silent server would hold all callers for ever.
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with _kept_inside():
            yield
    except (OSError, RuntimeError, tarfile.TarError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"cannot fetch {file.name} ({reason}): download {url} and put it at {file}, then "
            "run the same command again"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _by_name(study: Study, root: Path) -> dict[str, str]:
    """Fetches the weights that timm and Hugging Face have: a line by pre-training's name,
    or for checks."""
    lines = {}
    source = study.source
    loads = [(name, each.load, source.model) for name, each in source.pretrainings.items()]
    checks = [chosen.check for task in study.downstream for chosen in task.checks]
    loads += [("check", c.load, c.model) for c in checks if c.kind == "transfer_attack"]
    for name, load, model in loads:
        if load is None or load.format not in BY_NAME or load.format == "torchvision":
            continue
        from trainables.checkpoints.published import published

        wanted = published(load, model, root.absolute())
        assert wanted is not None, "it is published by name"
        how, sha256 = downloads.fetch(wanted, load.sha256)
        lines[name] = f"{name}: {how} {wanted.file}, sha256 {sha256}"
    return lines


def _weights(name: str, load: Checkpoint, study: Study) -> str:
    if load.weights is None:
        return f"{name}: {load.path}, sha256 {load.sha256}"
    import torch

    from trainables.checkpoints import formats

    weights = formats.named(load, study.source.model)
    file = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
    there = file.is_file()
    with _remedied(weights.url, file):
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    # torchvision compares the hash in the file's name only after a download.
    sha256, expected = file_sha256(file), file.stem.rsplit("-", 1)[-1]
    if not sha256.startswith(expected):
        raise InputError(f"{name}: {file} has sha256 {sha256}, not {expected}...: remove it")
    same(f"{name}: weights {load.weights}", file, load.sha256, sha256)
    return f"{name}: {'verified' if there else 'fetched'} {file}"
