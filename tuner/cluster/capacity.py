"""The Ray cluster that a run uses: started on this machine, or an address."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from search_spaces.errors import InputError
from tuner.cluster import connection, nodes, place, watch
from tuner.runtime.progress import waiting
from tuner.runtime.settings import Settings


@dataclass(frozen=True)
class Capacity:
    """What the cluster has, and what one chain and one trial take of it; files: the folder for what
    Ray writes, which all nodes see."""

    cpus: float
    gpus: float
    workers: int
    trial_cpus: float
    trial_gpus: float
    files: Path = Path("ray")

    def chains(self, wanted: int) -> int:
        """How many of the wanted chains run side by side.

        On CPUs up to two share a core: one's start-up then hides behind another's training.
        """
        room = _fitting(self.gpus, self.chain_gpus) if self.on_gpus else int(2 * self.cpus)
        return max(1, min(wanted, room // self.workers))

    @property
    def trials(self) -> int:
        """How many transfers run side by side, where no chain does."""
        return max(1, self.beside(0))

    def beside(self, chains: int) -> int:
        """How many transfers run beside so many chains, each of whose processes has a core, and its
        share of a GPU where there are GPUs for all."""
        processes = chains * self.workers
        rooms = [int((self.cpus - processes) / self.trial_cpus)]
        if self.trial_gpus:
            whole = processes * (self.chain_gpus == 1)
            shared = processes * (0 < self.chain_gpus < 1)
            rooms.append(_fitting(self.gpus - whole, self.trial_gpus) - shared)
        return max(0, min(rooms))

    @property
    def on_gpus(self) -> bool:
        """Does each Ray Train process get a GPU?"""
        return self.gpus >= self.workers

    @property
    def chain_gpus(self) -> float:
        """What a Ray Train process takes of a GPU: what a transfer does; a whole one where several
        work on a chain, since NCCL takes no two of them on one GPU."""
        if not self.on_gpus:
            return 0.0
        return self.trial_gpus if self.workers == 1 and 0 < self.trial_gpus < 1 else 1.0


def _fitting(gpus: float, each: float) -> int:
    """How many fit that take so much: Ray does not split one over two GPUs."""
    return int(gpus) * int(1 / each) if each < 1 else int(gpus // each)


def fitted(settings: Settings, cpus: float, gpus: float, files: Path = Path("ray")) -> Capacity:
    """The settings' requests, checked against what there is.

    Raises InputError for a request that can never be met: Ray would wait for it in silence.
    """
    workers = settings.workers or 1
    trial_gpus = settings.gpus if settings.gpus is not None else min(1.0, gpus)
    for flag, wanted, there, unit in (
        ("--workers", workers, max(cpus, gpus), "CPUs"),
        ("--cpus-per-trial", settings.cpus, cpus, "CPUs"),
        ("--gpus-per-trial", trial_gpus, gpus, "GPUs"),
    ):
        # Written so that nan is refused too.
        if not wanted <= there:
            raise InputError(f"{flag} {wanted:g}: the cluster has {there:g} {unit}: ask for less")
        if wanted < 0 or (wanted == 0 and unit == "CPUs"):
            raise InputError(f"{flag} {wanted:g}: must be positive")
        if wanted > 1 and wanted != int(wanted):
            raise InputError(f"{flag} {wanted:g}: above 1, only whole numbers can be had")
    return Capacity(cpus, gpus, workers, settings.cpus, trial_gpus, files)


@contextmanager
def cluster(
    settings: Settings, places: Sequence[str] = (), console: Console | None = None
) -> Iterator[Capacity]:
    """Ray, connected, for the time of a run. Of a cluster that is named, every node is asked first
    whether it has our packages, the storage and `places`: files and folders that trainings read;
    then the console shows which nodes come and go.

    Raises InputError for a cluster that does not answer, a node that lacks something, or a request
    that cannot be met."""
    address, storage = settings.address, settings.storage.resolve()
    with place.own() if address is None else nullcontext() as folder:
        what = "starting Ray" if address is None else f"connecting to Ray at {address}"
        with waiting(console, what) if console else nullcontext():
            connection.connect(address, folder)
        import ray

        try:
            there = ray.cluster_resources()
            files = folder / "files" if folder else storage / "ray"
            capacity = fitted(settings, there.get("CPU", 0.0), there.get("GPU", 0.0), files)
            check_placeable(capacity, [node["Resources"] for node in nodes.alive()])
            if address is not None:
                nodes.check(address, storage, places)
            with (
                watch.storage(storage),
                watch.own() if address is None else watch.named(console),
            ):
                yield capacity
        finally:
            ray.shutdown()


def check_placeable(capacity: Capacity, nodes: list[dict[str, float]]) -> None:
    """Raises InputError for a trial that no single node has room for: Ray splits none."""
    cpus, gpus = capacity.trial_cpus, capacity.trial_gpus
    if not any(cpus <= node.get("CPU", 0.0) and gpus <= node.get("GPU", 0.0) for node in nodes):
        raise InputError(
            f"--cpus-per-trial {cpus:g}, --gpus-per-trial {gpus:g}: "
            "no node of the cluster has as many: ask for less"
        )


def check_local(settings: Settings) -> None:
    """Refuses, before Ray starts, what this machine can never meet, an address where nobody
    listens, and unknown words for how training computes."""
    from trainables.runtime.compilation import compilation
    from trainables.runtime.precision import precision

    precision()
    compilation()
    if settings.address is not None:
        connection.reached(settings.address)
        return
    import torch

    fitted(settings, float(os.cpu_count() or 1), float(torch.cuda.device_count()))
