"""A study over two Ray nodes: what the death of one costs, and what a node must have."""

import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.support.chaos import until
from tests.support.chaos_place import FOLDERS, Place, comparable, repeated, trained_again, verdict
from tests.support.chaos_processes import Driver
from tests.support.paths import ROOT
from tests.support.ray_nodes import cluster

pytestmark = pytest.mark.long

COUNTING = f"{ROOT / 'tests' / 'counting'}:{ROOT}"
PATIENCE = 300.0
YAML = """
name: nodes
source:
  dataset: {name: mnist-mini, size: 8, limit: 512}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: {epochs: 2, batch_size: 32, lr: 0.1}}}
pruning:
  imp: {method: imp, rounds: 3, retraining: {recipe: {epochs: 15, batch_size: 32, lr: 0.05}}}
downstream:
  - dataset: {name: digits, size: 8, limit: 400}
    levels: [0, 3]
    seeds: [0, 1]
    regimes:
      standard: {recipe: {epochs: 20, batch_size: 32, lr: 0.1}}
      adversarial:
        attack: {kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}
        recipe: {epochs: 10, batch_size: 32, lr: 0.1}
evaluation:
  attack: {kind: pgd, steps: 5, epsilon: 0.1, alpha: 0.05}
"""
# The number of processes of a chain moves results: it is held fixed.
COMMAND = ("tuner", "run", "nodes.yaml", "--workers", "2")


def place(folder, *more, **environment):
    folder.mkdir()
    (folder / "nodes.yaml").write_text(YAML)
    return Place(folder, (*COMMAND, *more), {"KEEP_SECONDS": "0", **environment})


def recovered(events, moment):
    """Seconds from a moment to the beginning of each training that was interrupted by it."""
    attempts = {}
    for event in events:
        attempts.setdefault(event.key, {}).setdefault(event.attempt, []).append(event)
    return {
        key: after[0].time - moment
        for key, each in attempts.items()
        for before, after in zip(list(each.values()), list(each.values())[1:], strict=False)
        if before[0].time < moment < after[0].time
    }


@pytest.mark.long
def test_a_study_goes_on_when_nodes_die(tmp_path):
    """One node dies during IMP and is not replaced until that is over, one during transfers."""
    calm = place(tmp_path / "calm")
    undisturbed = Driver(calm)
    assert undisturbed.end(PATIENCE) == 0, undisturbed.lines
    folder = tmp_path / "shaken"
    with cluster(
        PYTHONPATH=COUNTING, COUNT_TO=str(folder / "epochs.jsonl"), KEEP_SECONDS="0"
    ) as ray:
        ray.add(2)
        second = ray.add(3)
        own = {n: v for n, v in ray.environment.items() if n.startswith("RAY_")}
        shaken = place(folder, "--address", ray.address, **own)
        driver, moments = Driver(shaken), []

        def strike(node, due):
            assert until(due, lambda: driver.alive, PATIENCE), (driver.lines, shaken.logs())
            moments.append(time.time())
            node.kill()

        def at_work():
            """Epochs that have ended of the trainings whose results are not there yet."""
            done = {path.name for kind in FOLDERS for path in shaken.results(kind)}
            return Counter(
                e.key for e in shaken.events() if e.what == "ended" and e.key not in done
            )

        def retraining():
            return len(list(shaken.results("tickets"))) == 1 and at_work().total() >= 5

        def transferring():
            return len(list(shaken.results("transfers"))) >= 1 and len(at_work()) == 2

        strike(second, retraining)
        assert until(lambda: driver.stage == "transfers", lambda: driver.alive), driver.lines
        third = ray.add(4)
        strike(third, transferring)
        code = driver.end(PATIENCE)
        assert code == 0, (driver.lines, shaken.logs())
    said = [line for line in driver.lines if line.startswith("node ")]
    # Ray notices the last death when the run may be over.
    for line, (ip, rest) in zip(
        said, (("3", "lost: 1"), ("4", "joined: 2"), ("4", "lost: 1")), strict=False
    ):
        assert line.startswith(f"node 127.0.0.{ip} (")
        assert line.endswith(f" {rest} CPUs, 0 GPUs in all")
    assert len(said) >= 2
    assert comparable(shaken) == comparable(calm)
    assert verdict(driver.lines) == verdict(undisturbed.lines) != []
    assert trained_again(shaken) == []
    again = repeated(shaken.events())
    for name, moment in zip(("IMP", "transfers"), moments, strict=True):
        seconds = recovered(shaken.events(), moment).values()
        print(f"killed during {name}: went on after {', '.join(f'{s:.1f} s' for s in seconds)}")
    print(f"epochs repeated, whole or in part: {[r.epochs for r in again]}")
    assert len(again) >= 2
    assert max(r.epochs for r in again) <= 1


def test_a_run_whose_head_dies_ends_and_says_how_to_go_on(tmp_path):
    with cluster(PYTHONPATH=COUNTING) as ray:
        head = ray.add(2)
        ray.add(3)
        own = {n: v for n, v in ray.environment.items() if n.startswith("RAY_")}
        driver = Driver(place(tmp_path / "run", "--address", ray.address, **own))
        assert until(lambda: driver.stage == "source", lambda: driver.alive), driver.lines
        head.kill()
        started = time.monotonic()
        code = driver.end(PATIENCE)
    print(f"the run ended {time.monotonic() - started:.1f} s after its head")
    assert code == 1, driver.lines
    assert "are kept" in driver.lines[-2]
    assert driver.lines[-1].startswith("to go on: python -m tuner run nodes.yaml --workers 2")


HIDING = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("search_spaces", "trainables", "tuner")
        return None if hidden else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
BLIND = """
import os, sys
def unseen(event, arguments):
    if event == "open" and str(arguments[0]).startswith(os.environ["UNSEEN"]):
        raise FileNotFoundError(2, "No such file or directory", str(arguments[0]))
sys.addaudithook(unseen)
"""


def refused(folder, ray):
    """What `run` says of a cluster that it does not take."""
    (folder / "nodes.yaml").write_text(YAML)
    command = [sys.executable, "-m", *COMMAND[:3], "--address", ray.address]
    done = subprocess.run(command, cwd=folder, env=ray.environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"error: --address {ray.address}: node 127.0.0.")
    assert done.stderr.splitlines() == [done.stderr.rstrip("\n")]
    results = folder / "results"
    assert not any(list((results / kind).iterdir()) for kind in FOLDERS)
    assert not list(results.glob(".nodes*"))
    return done.stderr


def test_a_node_without_our_packages_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    with cluster() as ray:
        ray.add(2)
        ray.add(3, PYTHONPATH=str(tmp_path))
        said = refused(tmp_path, ray)
    assert "node 127.0.0.3 " in said and "has no package search_spaces: install this" in said


def test_a_node_with_another_version_is_named(tmp_path):
    for name in ("search_spaces", "trainables", "tuner"):
        shutil.copytree(ROOT / name, tmp_path / "other" / name)
    with (tmp_path / "other" / "trainables" / "training.py").open("a") as file:
        file.write("# Changed since.\n")
    with cluster() as ray:
        ray.add(2, PYTHONPATH=str(tmp_path / "other"))
        said = refused(tmp_path, ray)
    assert "has another trainables than this machine: install the same" in said


def test_a_node_that_does_not_see_the_storage_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLIND)
    path = f"{tmp_path}:{ROOT}"
    with cluster() as ray:
        ray.add(2, PYTHONPATH=path, UNSEEN=str(tmp_path / "results"))
        said = refused(tmp_path, ray)
    assert f"cannot write the storage {tmp_path / 'results'} (No such file or directory)" in said
