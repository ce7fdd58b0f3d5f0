"""A run and its results where other trainings are watched: TensorBoard, Weights & Biases.

Each is called with what a run tells (`Study.run(progress=...)`), and shows results once they are
there. Both are optional packages; nothing here imports them before they are asked for.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from doublewin.results import Results
from search_spaces.errors import InputError
from tuner.runtime.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TensorBoard:
    """Event files below a folder, for `tensorboard --logdir FOLDER`: how far each stage is, over
    seconds, verdict and figure 3; of each transfer, in a folder of its own, what `Results.epochs`
    holds, over epochs, and its test scores.

    Raises InputError if tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder, self._stages = Path(folder), _Stages()
        self._study = self._writer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._study.close()

    def __call__(self, progress: Progress) -> None:
        """Writes how much of a stage is done, a share of 1."""
        for name, share, seconds in self._stages.heard(progress):
            self._study.add_scalar(name, share, seconds)

    def show(self, results: Results) -> None:
        """Writes what a storage holds of a study."""
        self._study.add_text("verdict", results.verdict())
        for figure in _figure(results):
            self._study.add_figure("fig3", figure)
        epochs = dict(list(results.epochs.groupby("key")))
        for row in results.table.to_dict("records"):
            with self._writer(_name(row)) as transfer:
                for epoch in epochs[row["key"]].to_dict("records") if row["key"] in epochs else ():
                    for name in CURVES:
                        if epoch[name] == epoch[name]:  # Not every epoch is validated.
                            transfer.add_scalar(name, epoch[name], epoch["number"])
                for name in ("SA", "RA"):
                    transfer.add_scalar(f"test/{name}", row[name], 0)

    def _writer(self, name: str = "") -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError("tensorboard is not installed: pip install '.[tensorboard]'") from None
        return SummaryWriter(str(self._folder / name))


class WeightsAndBiases:
    """A run in a project of Weights & Biases: how far each stage is, over seconds; verdict, figure
    3, and the tables of transfers and of their epochs. Further settings are those of `wandb.init`,
    as mode="offline".

    Raises InputError if wandb is not installed.
    """

    def __init__(self, project: str, **settings: Any) -> None:
        try:
            import wandb
        except ImportError:
            raise InputError("wandb is not installed: pip install '.[wandb]'") from None
        self._wandb, self._stages = wandb, _Stages()
        self._run = wandb.init(project=project, **settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run.finish(exit_code=int(error is not None))

    def __call__(self, progress: Progress) -> None:
        """Logs how much of a stage is done, a share of 1."""
        for name, share, seconds in self._stages.heard(progress):
            self._run.log({name: share, "seconds": seconds})

    def show(self, results: Results) -> None:
        """Logs what a storage holds of a study."""
        self._run.summary["verdict"] = results.verdict()
        tables = {"transfers": results.table, "epochs": results.epochs}
        logged: dict[str, Any] = {
            name: self._wandb.Table(dataframe=table) for name, table in tables.items()
        }
        for figure in _figure(results):
            logged["fig3"] = self._wandb.Image(figure)
        self._run.log(logged)


CURVES = ("loss", "accuracy", "lr", "val_SA", "val_RA")
"""Of an epoch, what is drawn over epochs."""


class _Stages:
    """How far the stages are, by seconds since the first word; what has not changed is not said
    again."""

    def __init__(self) -> None:
        self._began, self._told = time.monotonic(), dict[str, float]()

    def heard(self, progress: Progress) -> Iterator[tuple[str, float, int]]:
        """(name, share of 1, seconds) where there is news."""
        name = f"progress/{progress.stage.split()[0].rstrip(':')}"
        share = progress.done / max(progress.total, 1)
        if self._told.get(name) != share:
            self._told[name] = share
            yield name, share, int(time.monotonic() - self._began)


def _figure(results: Results) -> "Iterator[Figure]":
    """Figure 3, where there is something to draw."""
    with suppress(InputError):
        yield results.figure("fig3")


def _name(row: Mapping[Any, Any]) -> str:
    """A transfer's folder: theta, pruning, level, data set and share, regime, seed."""
    theta = f"{row['theta']}@{row['source_seed']}"
    task = f"{row['dataset']}-{row['fraction']:g}"
    return f"{theta}/{row['pruning']}-{row['level']}/{task}/{row['regime']}/{row['seed']}"
