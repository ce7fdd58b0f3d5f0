"""While a run works: is its storage there, has its Ray died, and which nodes come and go?

Ray itself would wait for a dead one, or end this process without a word.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from trainables.store.ledger import Ledger
from tuner.cluster import nodes
from tuner.runtime.interrupts import give_up

_SECONDS = 0.5
# Ray takes its head for dead after a minute, and then ends every process without a word.
_SILENCE_SECONDS = 30.0


@contextmanager
def storage(root: Path) -> Iterator[None]:
    """Inside, a storage that vanishes ends this process, and so all that would write to it."""
    ledger = Ledger(root)

    def look() -> None:
        # Twice: on a network a folder may be hidden for a moment.
        if not ledger.there and not _again(ledger):
            give_up(f"storage {root} is gone")

    with _again_and_again(look):
        yield


def _again(ledger: Ledger) -> bool:
    time.sleep(_SECONDS)
    return ledger.there


@contextmanager
def own() -> Iterator[None]:
    """Inside, the death of a process of the Ray that was started here ends this one."""
    from ray._private.worker import global_worker

    node = global_worker.node

    def look() -> None:
        for name, _ in node.dead_processes():
            give_up(f"Ray's {name} has died on this machine")

    with _again_and_again(look):
        yield


@contextmanager
def named(console: Console | None) -> Iterator[None]:
    """Inside, the console shows which nodes of the cluster come and go; if its head no longer
    answers or this machine's node is lost, this process ends."""
    import ray

    context = ray.get_runtime_context()
    head, me = context.gcs_address, context.get_node_id()
    known = {node["NodeID"]: node for node in nodes.alive()}
    heard = time.monotonic()

    def look() -> None:
        nonlocal known, heard
        if not _listens(head):
            if time.monotonic() - heard > _SILENCE_SECONDS:
                give_up(f"the Ray cluster at {head} does not answer any more")
            return
        heard = time.monotonic()
        now = {node["NodeID"]: node for node in nodes.alive()}
        cpus, gpus = (sum(nodes.having(list(now.values()), each)) for each in ("CPU", "GPU"))
        for verb, some, others in (("lost", known, now), ("joined", now, known)):
            for name in some.keys() - others.keys():
                line = f"node {nodes.name_of(some[name])} {verb}: {cpus:g} CPUs, {gpus:g} GPUs"
                if console:
                    console.print(f"{line} in all", markup=False)
        known = now
        if me not in now:
            give_up("this machine's node of the Ray cluster has died")

    with _again_and_again(look):
        yield


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except OSError:
        return False
    return True


@contextmanager
def _again_and_again(look: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SECONDS):
            look()

    watching = threading.Thread(target=watch, name="ray", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
