"""Ray, started on this machine or found at an address."""

import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

from analysis.store.disclosure import without_secrets
from search_spaces.errors import InputError
from trainables.runtime import allocation
from tuner.cluster import place
from tuner.runtime.interrupts import own_handlers

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
    **allocation.ENVIRONMENT,
}
# For a cluster of this machine alone. Ray then takes 127.0.0.1 for its address, and its processes
# listen there only, as they do on macOS; without it, any machine of the network could ask them, and
# Ray takes 127.0.0.1 for this machine's address in the network, where such a cluster is not heard.
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray Train asks Ray's API server, a part of the dashboard, whether a chain's controller lives. With
# none it looks for one, and a chain waits 12 s for that at its end; so it is told where nobody is.
_NO_API_SERVER = {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:0"}
_LOCALHOSTS = ("127.0.0.1", "localhost", "::1")
_HEARD_SECONDS = 10.0
_ADDRESS = re.compile(r"([\w.-]+|\[[\w:%.]+\]):(\d{1,5})", re.ASCII)
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
# Tensors do not travel through Ray's object store here; a small one leaves memory to training.
_OBJECT_STORE_BYTES = 200 * 2**20


def connect(address: str | None, folder: Path | None = None) -> None:
    """Starts Ray on this machine (None), with its files in `folder`, or connects it to a cluster.
    Raises InputError if it does not start, or if no cluster answers."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address is not None:
        _sign_in()
    with own_handlers(), reached(address) if address is not None else loopback(folder):
        _connect(address, folder)


def reached(address: str) -> AbstractContextManager[None]:
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


def _sign_in() -> None:
    """Shows the user's token, if there is one, to a cluster that is named: Ray does so only to one
    that it finds by itself, and `ray start` demands it wherever there is one."""
    if any(map(os.environ.get, _TOKENS)) or Path("~/.ray/auth_token").expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _connect(address: str | None, folder: Path | None) -> None:
    import ray

    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=folder and str(folder),
            )
    except Exception as error:  # Ray raises bare ones too: from a machine too busy to start it.
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


def loopback(folder: Path | None = None) -> AbstractContextManager[None]:
    """While Ray starts: on loopback, and behind a token that nobody else has. (Ray itself would put
    one where every user of the machine may read it.) A user's own settings win."""
    secret = {} if any(map(os.environ.get, _TOKENS)) else {_TOKENS[0]: _token()}
    guarded = {place.MARK: str(folder)} if folder else {}
    known = {**_ON_LOOPBACK, **_NO_API_SERVER, "RAY_AUTH_MODE": "token", **guarded, **secret}
    return _meanwhile(known)


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
