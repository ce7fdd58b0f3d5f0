"""A first study of one's own: what is known of its data, and how large it may be."""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from search_spaces.errors import InputError
from search_spaces.networks import Arch
from search_spaces.reading import studies
from search_spaces.reading.draft import SCALES, Draft, Facts, Scale
from search_spaces.spec import DATASETS, Dataset
from search_spaces.study import Study
from trainables.store.ledger import Ledger
from tuner.cluster.capacity import fitted
from tuner.estimate import cost, prices
from tuner.estimate.cost import Estimate
from tuner.runtime.settings import Settings
from tuner.scheduling.worklist import worklist

NAMES = [name for name in DATASETS if name not in ("npz", "folder")]
DATA = "a data set by name, an .npz file, or a folder of images SPLIT/CLASS/FILE"
"""How the data of a task may be given."""
# What a study of larger images takes is not a first one's on a CPU; they are brought to this size.
_ON_CPU, _SMALLEST = 32, 16


def usual_arch(size: int) -> Arch:
    """The network that suits images of a size on this machine."""
    if not prices.gpu_names():
        return "resnet8"
    return "resnet20" if size <= 64 else "resnet18"


def name_of(text: str, otherwise: str = "study") -> str:
    """A text as studies and tables name things."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._")[:60] or otherwise


def tasks(source: str, downstream: str, data: Path) -> tuple[Facts, Facts]:
    """What is known of the source's and the downstream task's data, at one size. They are given by
    name or path. Raises InputError for what is not there or not to be read."""
    from trainables.data.catalogue import image_size

    datasets = [dataset(text, data) for text in (source, downstream)]
    # The tickets' task decides: more pixels than it has would only take longer.
    size = image_size(_located(datasets[1], data))
    size = max(_SMALLEST, size if prices.gpu_names() else min(size, _ON_CPU))
    first, second = (_facts(d.model_copy(update={"size": size}), data) for d in datasets)
    return first, second


def _facts(dataset: Dataset, data: Path) -> Facts:
    from trainables.data.catalogue import channels_and_classes
    from trainables.data.layouts import split_sizes

    located = _located(dataset, data)
    sizes = split_sizes(located)
    return Facts(dataset, channels_and_classes(located)[0], sizes.train, sizes.test)


def dataset(text: str, data: Path) -> Dataset:
    """The data set that a name or a path means, with its path as a study writes it: from the data
    folder, where it lies there. Raises InputError if it is neither there nor a name."""
    if text in NAMES:
        return Dataset(name=text, size=_SMALLEST)
    path = Path(text).expanduser()
    if not path.exists():
        path = data / path
    if not path.exists():
        try:
            return Dataset(name=text, size=_SMALLEST)  # Of a package's, or a function's name.
        except ValidationError:
            raise InputError(
                f"data {text}: no such file or folder, and none of {', '.join(NAMES)}"
            ) from None
    if path.is_file() and path.suffix != ".npz":
        raise InputError(f"data {text}: takes {DATA}")
    kind = "folder" if path.is_dir() else "npz"
    path, root = path.resolve(), data.resolve()
    said = path.relative_to(root) if path.is_relative_to(root) else path
    label = name_of(path.stem, kind)
    return Dataset(name=kind, path=str(said), label=label, size=_SMALLEST)


def _located(dataset: Dataset, data: Path) -> Dataset:
    if dataset.path is None:
        return dataset
    return dataset.model_copy(update={"path": str((data / dataset.path).absolute())})


def sized(
    draft: Draft, data: Path, say: Callable[[str], None]
) -> tuple[str, Study, Estimate | None]:
    """(text, study, what it takes): the largest first study that takes no longer than it may, else
    the smallest; where steps cannot be timed here, the smallest. Raises InputError for data that a
    run would refuse. `say` is told before steps are timed."""
    from tuner.storage import inputs

    settings = Settings(data=data)
    capacity = fitted(settings, float(os.cpu_count() or 1), float(len(prices.gpu_names())))
    where = prices.machine(capacity)

    def drafted(scale: Scale) -> tuple[str, Study]:
        text = draft.text(scale)
        study = studies.validate(studies.parse(text, draft.name), draft.name)
        return text, inputs.resolve(study, data)

    best = None
    with tempfile.TemporaryDirectory() as nowhere:
        # Small ones first: what they take is known without reading much.
        for scale in reversed(SCALES):
            text, study = drafted(scale)
            ahead = cost.outlook(worklist(study, Ledger(Path(nowhere))), capacity, where.device)
            known, _ = cost.priced(ahead, where, say)
            estimate = cost.estimate(ahead, known)
            if best and (estimate is None or estimate.middle > 60 * draft.minutes):
                break
            best = text, study, estimate
            if estimate is None or estimate.middle > 60 * draft.minutes:
                break
    assert best is not None, "there are scales"
    return best
