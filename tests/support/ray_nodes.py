"""Ray clusters of several nodes on one machine: each a raylet with resources of its own, started
by `ray start`, all behind a token that nobody else has."""

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.commands import environment

START_SECONDS = 90.0


@dataclass(frozen=True)
class RayNode:
    """A node, by the `ray start --block` that all its processes descend from."""

    starter: psutil.Popen
    ip: str

    def kill(self):
        """SIGKILL to the raylet, then to all that it and its starter have started."""
        with suppress(psutil.NoSuchProcess):
            below = self.starter.children(recursive=True)
            for process in sorted(below, key=lambda process: process.name() != "raylet"):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.starter.kill()
        self.starter.wait()


@dataclass(frozen=True)
class Cluster:
    """`environment`: what the nodes and whoever uses them have in common."""

    folder: Path
    environment: dict[str, str]
    port: int
    nodes: ExitStack

    @property
    def address(self):
        return f"127.0.0.2:{self.port}"

    @property
    def own(self):
        """What a command that is to use it needs of its environment."""
        return {name: value for name, value in self.environment.items() if name.startswith("RAY_")}

    def add(self, last, **environment):
        """Starts a node with one CPU on 127.0.0.`last`; 2 is the head."""
        ip, head = f"127.0.0.{last}", last == 2
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command += ["--head", f"--port={self.port}"] if head else [f"--address={self.address}"]
        command += [f"--node-ip-address={ip}", "--num-cpus=1", "--num-gpus=0"]
        command += ["--object-store-memory=100000000", "--disable-usage-stats"]
        # Any free ports, not those that other clusters of this machine count on.
        command += ["--min-worker-port=0", "--max-worker-port=0"]
        if head:
            command += ["--include-dashboard=false", f"--temp-dir={self.folder}"]
        log = self.folder / f"{ip}-{time.monotonic_ns()}.log"
        with log.open("w") as sink:
            starter = psutil.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=self.environment | environment,
                cwd=self.folder,
            )
        node = RayNode(starter, ip)
        self.nodes.callback(node.kill)
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text():
            if starter.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.2)
        return node


@contextmanager
def cluster(**more):
    """A cluster without nodes; those that are added are killed at the end."""
    # Ray puts sockets there, whose paths may not be long.
    folder = Path(tempfile.mkdtemp(prefix="dw", dir="/tmp"))
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    own = environment(**token, **more)
    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))
        port = free.getsockname()[1]
    with ExitStack() as nodes:
        nodes.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Cluster(folder, own, port, nodes)
