"""A started command and the processes below it, as /proc shows them; an MLflow server beside it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.support.chaos_place import Place
from tests.support.paths import ROOT

HERE = Path(__file__).parent
STAGES = ("start", "source", "transfers", "evidence", "conclusion")
OPENINGS = {
    "source: ": "source",
    "source stage: ": "transfers",
    "transfers": "transfers",
    "evidence: ": "evidence",
    "transfer stage: ": "conclusion",
}
"""What the driver prints as a stage begins."""

KINDS = {
    "worker": "ray::RayTrainWorker",
    "controller": "ray::TrainController",
    "actor": "ray::ImplicitFunc",
    "task": "ray::gather",
    "raylet": "raylet",
    "gcs": "gcs_server",
}
"""Kinds of process below a driver, by how their command line begins."""


AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's own helpers: they see after a minute that their node is gone, and do nothing until then."""


class Driver:
    """A started command: what it has printed, the stage it is in, the processes below it."""

    def __init__(self, place: Place) -> None:
        own = {"PYTHONPATH": f"{HERE / 'counting'}:{ROOT}", "COUNT_TO": str(place.log)}
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", *place.command],
            cwd=place.folder,
            env={**environment, **own, **place.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.stage = "start"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            for opening, stage in OPENINGS.items():
                if line.startswith(opening) and STAGES.index(stage) > STAGES.index(self.stage):
                    self.stage = stage

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def below(self) -> dict[int, tuple[str, str]]:
        """Every process below the driver, as `below` gives them."""
        return below(self.process.pid)

    def victims(self, kind: str) -> list[int]:
        """The processes of a kind, oldest first."""
        if kind == "driver":
            return [self.process.pid]
        names = {pid: name for pid, (_, name) in self.below().items()}
        return sorted(
            pid
            for pid, name in names.items()
            if name.startswith(KINDS[kind]) or Path(name.split(" ")[0]).name == KINDS[kind]
        )

    def end(self, seconds: float) -> int | None:
        """The exit code, once all that was printed is read; None if it takes longer than that."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(10)
        return code


def below(root: int) -> dict[int, tuple[str, str]]:
    """Every process below one: pid -> (when it was started, its command line)."""
    parents = {pid: stat for pid in _pids() if (stat := _stat(pid))}
    found, new = set(), {root}
    while new:
        found |= new
        new = {pid for pid, (parent, _) in parents.items() if parent in new} - found
    found.discard(root)
    return {pid: (parents[pid][1], _command(pid)) for pid in found}


def _pids() -> Iterable[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat(pid: int) -> tuple[int, str] | None:
    """(parent, when it was started) of a process; None for one that is gone or only to be waited
    for. A pid alone may be somebody else's by now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[1]), fields[19])


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    return ""


def gone(processes: dict[int, tuple[str, str]]) -> bool:
    """Have all of these ended? They are given as `Driver.below` gives them."""
    stats = {pid: _stat(pid) for pid in processes}
    return not any(stat and stat[1] == processes[pid][0] for pid, stat in stats.items())


class Server:
    """An MLflow server on a port of its own, over the sqlite file that a run would use."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, unless it runs, and waits until it answers."""
        if self._process and self._process.poll() is None:
            return
        store = ["--backend-store-uri", "sqlite:///mlflow.db", "--workers", "1"]
        where = ["--host", "127.0.0.1", "--port", str(self._port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *where],
            cwd=self.folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            time.sleep(0.1)
        raise TimeoutError(f"{self.uri} does not answer")

    def kill(self) -> None:
        """The server and its workers, at once."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
