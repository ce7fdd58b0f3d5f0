"""The Ray cluster that a run uses: started on this machine, or an address."""

import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console

from analysis.disclosure import without_secrets
from search_spaces.errors import InputError
from tuner import nodes
from tuner.interrupts import give_up, own_handlers
from tuner.settings import Settings

# Read by Ray when it is imported or started; a user's own values win.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    # See tuner.interrupts.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
# For a cluster of this machine alone. Ray then takes 127.0.0.1 for its address, and its processes
# listen there only, as they do on macOS; without it, any machine of the network could ask them, and
# Ray takes 127.0.0.1 for this machine's address in the network, where such a cluster is not heard.
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_LOCALHOSTS = ("127.0.0.1", "localhost", "::1")
_HEARD_SECONDS = 10.0
_ADDRESS = re.compile(r"([\w.-]+|\[[\w:%.]+\]):(\d{1,5})", re.ASCII)
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_WATCH_SECONDS = 0.5
# Tensors do not travel through Ray's object store here; a small one leaves memory to training.
_OBJECT_STORE_BYTES = 200 * 2**20


@dataclass(frozen=True)
class Capacity:
    """What the cluster has, and what one chain and one trial take of it."""

    cpus: float
    gpus: float
    workers: int
    trial_cpus: float
    trial_gpus: float

    def chains(self, wanted: int) -> int:
        """How many of the wanted chains run side by side.

        On CPUs up to two share a core: one's start-up then hides behind another's training.
        """
        room = self.gpus if self.on_gpus else 2 * self.cpus
        return max(1, min(wanted, int(room // self.workers)))

    @property
    def trials(self) -> int:
        """How many transfers run side by side. Ray does not split one over two GPUs."""
        rooms = [int(self.cpus / self.trial_cpus)]
        if self.trial_gpus:
            rooms.append(int(self.gpus // self.trial_gpus))
            if self.trial_gpus < 1:
                rooms[-1] = int(self.gpus) * int(1 / self.trial_gpus)
        return max(1, min(rooms))

    @property
    def on_gpus(self) -> bool:
        """Does each Ray Train process get a GPU?"""
        return self.gpus >= self.workers


def fitted(settings: Settings, cpus: float, gpus: float) -> Capacity:
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
    return Capacity(cpus, gpus, workers, settings.cpus, trial_gpus)


@contextmanager
def cluster(
    settings: Settings, places: Sequence[str] = (), console: Console | None = None
) -> Iterator[Capacity]:
    """Ray, connected, for the time of a run. Of a cluster that is named, every node is asked first
    whether it has our packages, the storage and `places`: files and folders that trainings read;
    then the console shows which nodes come and go.

    Raises InputError for a cluster that does not answer, a node that lacks something, or a request
    that cannot be met."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = settings.address
    if address is not None:
        _sign_in()
    with own_handlers(), _found(address) if address is not None else _loopback():
        _connect(address)
    import ray

    try:
        there = ray.cluster_resources()
        capacity = fitted(settings, there.get("CPU", 0.0), there.get("GPU", 0.0))
        _placeable(capacity, [node["Resources"] for node in nodes.alive()])
        if address is not None:
            nodes.check(address, settings.storage.resolve(), places)
        named = nodes.watched(console) if console else nullcontext()
        with _watched() if address is None else named:
            yield capacity
    finally:
        ray.shutdown()


def _placeable(capacity: Capacity, nodes: list[dict[str, float]]) -> None:
    """Raises InputError for a trial that no single node has room for: Ray splits none."""
    cpus, gpus = capacity.trial_cpus, capacity.trial_gpus
    if not any(cpus <= node.get("CPU", 0.0) and gpus <= node.get("GPU", 0.0) for node in nodes):
        raise InputError(
            f"--cpus-per-trial {cpus:g}, --gpus-per-trial {gpus:g}: "
            "no node of the cluster has as many: ask for less"
        )


def _found(address: str) -> AbstractContextManager[None]:
    """What Ray needs to be told to find a cluster by its address. Raises InputError if nobody
    listens there: Ray itself would try for half a minute."""
    if address == "auto":
        return nullcontext()
    parts = _ADDRESS.fullmatch(address)
    if not parts:
        raise InputError(
            f"--address {address}: takes HOST:PORT, as `ray start --head` prints it, or auto"
        )
    host, port = parts[1].strip("[]"), int(parts[2])
    try:
        socket.create_connection((host, port), timeout=_HEARD_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--address {address}: nobody listens there ({reason}): "
            "correct it, or start a cluster: ray start --head"
        ) from None
    return _meanwhile(_ON_LOOPBACK if host in _LOCALHOSTS else {})


@contextmanager
def _watched() -> Iterator[None]:
    """Inside, the death of a process of the Ray that was started here ends this one: Ray itself
    would wait for it without end. (Of a Ray that was named, none is this one's.)"""
    from ray._private.worker import global_worker

    node, over = global_worker.node, threading.Event()

    def watch() -> None:
        while not over.wait(_WATCH_SECONDS):
            for name, _ in node.dead_processes():
                give_up(f"Ray's {name} has died on this machine")

    watching = threading.Thread(target=watch, name="ray", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def _sign_in() -> None:
    """Shows the user's token, if there is one, to a cluster that is named: Ray does so only to one
    that it finds by itself, and `ray start` demands it wherever there is one."""
    if any(map(os.environ.get, _TOKENS)) or Path("~/.ray/auth_token").expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _connect(address: str | None) -> None:
    import ray
    from ray.exceptions import RayError

    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, RayError) as error:
        reason = without_secrets(" ".join(str(error).split()))[:200]
        if address is None:
            raise InputError(f"Ray does not start on this machine: {reason}") from None
        raise InputError(
            f"--address {address}: no Ray cluster answers ({reason}): correct it, run this on one "
            "of its nodes, or give its token: RAY_AUTH_MODE=token RAY_AUTH_TOKEN=..."
        ) from None


@cache
def _token() -> str:
    """Ray keeps the first token that a process has, for all its clusters."""
    return secrets.token_hex(32)


def _loopback() -> AbstractContextManager[None]:
    """While Ray starts: on loopback, and behind a token that nobody else has. (Ray itself would put
    one where every user of the machine may read it.) A user's own settings win."""
    secret = {} if any(map(os.environ.get, _TOKENS)) else {_TOKENS[0]: _token()}
    return _meanwhile({**_ON_LOOPBACK, "RAY_AUTH_MODE": "token", **secret})


@contextmanager
def _meanwhile(values: Mapping[str, str]) -> Iterator[None]:
    """These environment variables while Ray starts or connects, where the user has not set them."""
    fresh = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        # What Ray has started has them; what this process starts otherwise is not to.
        for name in fresh:
            del os.environ[name]


def check_local(settings: Settings) -> None:
    """Refuses, before Ray starts, what this machine can never meet and an address where nobody
    listens."""
    if settings.address is not None:
        _found(settings.address)
        return
    import torch

    fitted(settings, float(os.cpu_count() or 1), float(torch.cuda.device_count()))
