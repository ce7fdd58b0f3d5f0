"""A study's files: where they are, what they are, and whether they can be used.

Imports torch only where a study uses published sets or weights.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from search_spaces import own
from search_spaces.base import Spec
from search_spaces.checks import Check
from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint, Model
from search_spaces.regimes import Confirmation
from search_spaces.spec import Dataset
from search_spaces.study import ChosenCheck, Study
from trainables.data.catalogue import (
    EMBEDDED,
    PAIRS,
    TORCHVISION,
    absent,
    channels_and_classes,
    file_sha256,
)
from trainables.data.layouts import layout
from trainables.data.own import digest as arrays_sha256
from trainables.data.pairs import digest as pairs_sha256
from tuner.storage import digests, fitting

# Trained networks have hardly a weight that is exactly zero.
SPARSE = 0.01
# Where named folders lie below the data folder.
HOMES = {
    **{"imagenet": "imagenet", "cub200": "CUB_200_2011", "visda17": "visda17"},
    "gtsrb": "gtsrb",
}

S = TypeVar("S", bound=Spec)


def resolve(study: Study, root: Path) -> Study:
    """The study with every file's absolute path, and the checksum of the user's own files.

    Relative paths start at `root`, the data folder.
    Named datasets lie below `root`: CIFAR, SVHN and GTSRB as torchvision lays them out, the others
    in imagenet/, CUB_200_2011/, visda17/. Raises InputError if one of the user's files is not there
    or not what the study says it is, or if source and downstream images differ in channels.
    """
    try:
        return _resolved(study, root)
    except OSError as error:
        raise InputError(
            f"{error.filename}: cannot be read ({error.strerror}): correct --data or path:"
        ) from None


def _resolved(study: Study, root: Path) -> Study:
    known: dict[Dataset, Dataset] = {}

    def once(dataset: Dataset) -> Dataset:
        if dataset not in known:
            known[dataset] = located(dataset, root)
        return known[dataset]

    pretrainings = {
        name: p.model_copy(update={"load": weights_file(p.load, study.source.model, root)})
        if p.load
        else p
        for name, p in study.source.pretrainings.items()
    }
    source = study.source.model_copy(
        update={
            "dataset": once(study.source.dataset),
            "pretrainings": pretrainings,
        }
    )
    downstream = tuple(
        task.model_copy(
            update={
                "dataset": once(task.dataset),
                "checks": tuple(_with_surrogate(chosen, root) for chosen in task.checks),
            }
        )
        for task in study.downstream
    )
    channels = channels_and_classes(source.dataset)[0]
    scale = source.model.normalisation
    if scale is not None and len(scale.mean) != channels:
        raise InputError(
            f"source.model.normalisation: has numbers for {len(scale.mean)} colour channels, "
            f"{source.dataset.title} has {channels}: write one for each"
        )
    for number, task in enumerate(downstream):
        own_channels = channels_and_classes(task.dataset)[0]
        if own_channels != channels:
            raise InputError(
                f"downstream.{number}: {task.dataset.title} has {own_channels} colour channels, "
                f"the source {source.dataset.title} has {channels}: tickets need the same number"
            )
    return _sourced(study.model_copy(update={"source": source, "downstream": downstream}))


def _sourced(spec: S, place: str = "") -> S:
    """A spec with the digest of the user's own code, wherever it names some."""
    found: dict[str, Any] = {}
    for name in type(spec).model_fields:
        value, inside = getattr(spec, name), f"{place}{name}."
        if isinstance(value, Spec):
            found[name] = _sourced(value, inside)
        elif isinstance(value, tuple) and value and isinstance(value[0], Spec):
            found[name] = tuple(_sourced(each, f"{inside}{i}.") for i, each in enumerate(value))
        elif isinstance(value, dict) and any(isinstance(each, Spec) for each in value.values()):
            found[name] = {k: _sourced(each, f"{inside}{k}.") for k, each in value.items()}
    if code := getattr(spec, "own", None):
        try:
            found["sha256"] = own.digest(code)
            same("its source", own.source(code), spec.sha256, found["sha256"])  # type: ignore[attr-defined]
        except InputError as error:
            raise InputError(f"{place.removesuffix('.')}: {error}") from None
    changed = {name: value for name, value in found.items() if value != getattr(spec, name)}
    return spec.model_copy(update=changed) if changed else spec


def _own_code(spec: Spec) -> Iterator[tuple[str, str | None]]:
    """(name, digest) of all of the user's own code in a spec."""
    if code := getattr(spec, "own", None):
        yield code, spec.sha256  # type: ignore[attr-defined]
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        parts = value.values() if isinstance(value, dict) else value
        for part in parts if isinstance(value, dict | tuple) else (value,):
            if isinstance(part, Spec):
                yield from _own_code(part)


def located(dataset: Dataset, root: Path) -> Dataset:
    """A data set with its absolute path and, of the user's own, the checksum. Raises InputError
    where its files are not there or not what they should be."""
    if dataset.name in EMBEDDED | TORCHVISION:
        if dataset.sha256 is not None:
            raise InputError(f"dataset {dataset.title}: sha256 is for files of your own: leave it")
        if dataset.name in EMBEDDED:
            return dataset
    if own.is_own(dataset.name):
        # By what it returns: its source may say little of that.
        channels_and_classes(dataset)
        sha256 = arrays_sha256(dataset.name)
        same(f"dataset {dataset.title}", dataset.name, dataset.sha256, sha256)
        return dataset.model_copy(update={"sha256": sha256})
    path = _below(root, dataset.path or HOMES.get(dataset.name, ""))
    dataset = dataset.model_copy(update={"path": str(path)})
    if dataset.name in TORCHVISION:
        return dataset
    if dataset.name == "npz":
        if not path.is_file():
            raise absent(dataset, path)
        sha256 = file_sha256(path)
    elif dataset.name in PAIRS:
        sha256 = pairs_sha256(dataset)
    else:
        layout(dataset)  # Says what is wrong with its classes, before a pixel is read.
        sha256 = digests.contents(dataset, path).digest
    same(f"dataset {dataset.title}", path, dataset.sha256, sha256)
    return dataset.model_copy(update={"sha256": sha256})


def same(what: str, path: Path | str, stated: str | None, sha256: str) -> None:
    if stated not in (None, sha256):
        raise InputError(
            f"{what}: {path} has sha256 {sha256}, the study says {stated}: "
            "use the data that the study means, or correct the study"
        )


def _below(root: Path, path: str) -> Path:
    """An absolute path; relative ones start at the data folder."""
    try:
        return (root / Path(path).expanduser()).absolute()
    except RuntimeError:
        raise InputError(f"path {path}: there is no such user: correct path:") from None


def _with_surrogate(chosen: ChosenCheck, root: Path) -> ChosenCheck:
    check = chosen.check
    if check.kind != "transfer_attack" or check.load is None:
        return chosen
    load = weights_file(check.load, check.model, root)
    check = check.model_copy(update={"load": load})
    return chosen.model_copy(update={"check": check})


def weights_file(load: Checkpoint, model: Model, root: Path) -> Checkpoint:
    """A checkpoint with its file's absolute path and checksum."""
    if load.path is None and load.format == "torchvision":
        return load
    path = _below(root, load.path) if load.path else _fetched_file(load, model, root)
    if not path.is_file():
        raise InputError(f"no weights file {path}: correct path:, or put the file there")
    sha256 = file_sha256(path)
    same(f"weights, format {load.format}", path, load.sha256, sha256)
    return load.model_copy(update={"path": str(path), "sha256": sha256})


def _fetched_file(load: Checkpoint, model: Model, root: Path) -> Path:
    """Where weights by name lie in the data folder."""
    from trainables.checkpoints.published import published

    known = published(load, model, root.absolute())
    assert known is not None, "a checkpoint has a path, or a name"
    if not known.file.is_file():
        raise InputError(
            f"weights {load.weights}: no file {known.file}: python -m tuner data STUDY fetches it; "
            f"without network, download {known.url} and put it there"
        )
    return known.file


def check(study: Study) -> list[str]:
    """What is worth knowing of a resolved study's files before it runs, a line each.

    Raises InputError if it needs what is not there or cannot be used: a published set, weights that
    fit the network, or, for AutoAttack, its library and the four classes that its targeted loss
    needs."""
    remarks = []
    for dataset in datasets(study):
        if dataset.name in TORCHVISION:
            from trainables.data.readers import require

            require(dataset)
        elif dataset.name in digests.PARTS and (rotated := _rotated(dataset)):
            remarks.append(
                f"dataset {dataset.title}: {rotated} of its images have a rotation in their EXIF, "
                "which is not applied: rotate the pixels themselves if it is meant"
            )
    for code, sha256 in dict.fromkeys(_own_code(study)):
        from trainables.runtime.own import load

        load(code, sha256)
    fitting.check_networks(study)
    fitting.check_channels(study)
    for name, pretraining in study.source.pretrainings.items():
        if pretraining.load is not None:
            zero = fitting.sparsity(pretraining.load, study.source.model, study.source.dataset)
            if zero >= SPARSE:
                remarks.append(
                    f"theta {name} is sparse already: {100 * zero:.2f} % of its prunable "
                    "weights are zero, and levels count from all of them"
                )
    for task in study.downstream:
        for chosen in task.checks:
            if chosen.check.kind == "transfer_attack" and chosen.check.load is not None:
                fitting.sparsity(chosen.check.load, chosen.check.model, task.dataset)
    for place, task in enumerate(study.downstream):
        for chosen in task.checks:
            classes = channels_and_classes(task.dataset)[1]
            check_possible(chosen.check, classes, f"downstream.{place}.checks")
        evaluation = task.evaluation or study.evaluation
        if evaluation.confirm is not None:
            classes = channels_and_classes(task.dataset)[1]
            check_possible(evaluation.confirm, classes, "evaluation.confirm")
    return remarks


def check_possible(check: Check | Confirmation, classes: int, place: str) -> None:
    """Raises InputError, which names the place, where a check needs a library that is not installed
    or more classes than there are."""
    if check.kind != "autoattack":
        return
    if find_spec("pyautoattack") is None:
        raise InputError(f"{place}: pyautoattack is not installed: pip install '.[autoattack]'")
    if classes < 4:
        raise InputError(f"{place}: autoattack needs at least 4 classes: leave it out")


def _rotated(dataset: Dataset) -> int:
    return digests.contents(dataset, Path(dataset.path or "")).rotated


def datasets(study: Study) -> list[Dataset]:
    """A study's datasets, each once by name and path."""
    every = [study.source.dataset, *(task.dataset for task in study.downstream)]
    return list({(dataset.name, dataset.path): dataset for dataset in every}.values())


def places(study: Study) -> list[str]:
    """The files and folders that trainings of a resolved study read, absolute, each once."""
    loads = [pretraining.load for pretraining in study.source.pretrainings.values()]
    checks = [chosen.check for task in study.downstream for chosen in task.checks]
    loads += [check.load for check in checks if check.kind == "transfer_attack"]
    paths = [*(each.path for each in datasets(study)), *(load.path for load in loads if load)]
    return list(dict.fromkeys(path for path in paths if path is not None))
