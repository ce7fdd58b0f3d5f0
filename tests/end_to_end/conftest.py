"""One tiny study, run once on real Ray Train, Ray Tune and MLflow: what the tests here read."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from search_spaces.study import Study
from tests.support import storage
from tests.support.commands import Command, Ended
from tests.support.studies import tiny, write
from trainables.store.ledger import Ledger

OVERRIDES = (
    "source.pretrainings.standard.train.recipe.epochs=2",
    "source.pretrainings.adversarial={train: {recipe: {epochs: 1, batch_size: 32, lr: 0.1},"
    " attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}}}",
    "pruning.random.pretrainings=[adversarial]",
    # A rate that rises until what was learnt is lost: the stopper has to act.
    "downstream.0.regimes.fast_adversarial={attack: {kind: fgsm, epsilon: 0.02, alpha: 0.04},"
    " containment: {patience: 1},"
    " recipe: {epochs: 8, batch_size: 16, lr: 1.5, schedule: {kind: one_cycle, warmup: 0.9}},"
    " only: {pretrainings: [standard], levels: [0]}}",
)


@dataclass
class Listening:
    """What Ray opened while the study ran: (process name, address) of every listening socket, its
    token, and the folder of its logs."""

    sockets: set[tuple[str, str]] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    session: Path | None = None

    def look(self, command: Command) -> bool:
        """Adds what there is to see; True once there is a raylet."""
        for process in command.below():
            try:
                name, line = process.name(), " ".join(process.cmdline())
                connections, set_ = process.net_connections("inet"), process.environ()
            except psutil.Error:
                continue
            listening = [c for c in connections if c.status == psutil.CONN_LISTEN]
            self.sockets |= {(name, c.laddr.ip.removeprefix("::ffff:")) for c in listening}
            if set_.get("RAY_AUTH_MODE") == "token":
                self.tokens.add(set_["RAY_AUTH_TOKEN"])
            if folder := re.search(r"--session_dir=(\S+)", line):
                self.session = Path(folder[1])
        return "raylet" in {name for name, _ in self.sockets}


@dataclass(frozen=True)
class Ran:
    """The study that was run, in which folder, what the command said, what Ray opened meanwhile."""

    study: Study
    folder: Path
    ended: Ended
    ray: Listening
    logged: bytes

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "results")


@pytest.fixture(scope="session")
def ran(tmp_path_factory) -> Ran:
    """`python -m tuner run` of the tiny study, with two Ray Train processes a chain."""
    folder = tmp_path_factory.mktemp("run")
    study = write(tiny(*OVERRIDES), folder)
    ray = Listening()
    with Command("tuner", "run", "tiny.yaml", "--workers", "2", cwd=folder) as command:
        command.until(lambda: command.is_in("source") and ray.look(command))
        command.until(lambda: command.is_in("transfers") and ray.look(command))
        logs = list(ray.session.rglob("*")) if ray.session else []
        logged = b"".join(path.read_bytes() for path in logs if path.is_file())
        ended = command.end()
    assert ended.code == 0, ended.out + ended.err + storage.logs(folder / "results")
    return Ran(study, folder, ended, ray, logged)
