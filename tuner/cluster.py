"""The Ray cluster that a run uses: started on this machine, or an address."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from analysis.disclosure import without_secrets
from search_spaces.errors import InputError
from trainables import allocation
from tuner.settings import Settings

# Read by Ray when it is imported or started; a user's own values win.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    **allocation.ENVIRONMENT,
}
# For a cluster of this machine alone. Ray then takes 127.0.0.1 for its address, and its processes
# listen there only, as they do on macOS; without it, any machine of the network could ask them.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
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
def cluster(settings: Settings) -> Iterator[Capacity]:
    """Ray, connected, for the time of a run. Raises InputError for a cluster that does not answer
    or a request that it cannot meet."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if settings.address is None:
        with _loopback():
            _connect(None)
    else:
        _sign_in()
        _connect(settings.address)
    import ray

    try:
        there = ray.cluster_resources()
        yield fitted(settings, there.get("CPU", 0.0), there.get("GPU", 0.0))
    finally:
        ray.shutdown()


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
            f"--address {address}: no Ray cluster answers ({reason}): correct it, or, if one is "
            "there, give its token: RAY_AUTH_MODE=token RAY_AUTH_TOKEN=..."
        ) from None


@cache
def _token() -> str:
    """Ray keeps the first token that a process has, for all its clusters."""
    return secrets.token_hex(32)


@contextmanager
def _loopback() -> Iterator[None]:
    """While Ray starts: on loopback, and behind a token that nobody else has. (Ray itself would put
    one where every user of the machine may read it.) A user's own settings win."""
    secret = {} if any(map(os.environ.get, _TOKENS)) else {_TOKENS[0]: _token()}
    fresh = {n: v for n, v in (_LOOPBACK | secret).items() if n not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        # What Ray has started has it; what this process starts otherwise is not to.
        for name in fresh:
            del os.environ[name]


def check_local(settings: Settings) -> None:
    """Refuses, before Ray starts, what this machine can never meet."""
    import torch

    if settings.address is None:
        fitted(settings, float(os.cpu_count() or 1), float(torch.cuda.device_count()))
