"""A study over two Ray nodes: what the death of one costs, and what a node must have."""

import random
import shutil
import time
from collections import Counter

import pytest

from tests.support import epochs, kills, storage
from tests.support.commands import call
from tests.support.kills import Place
from tests.support.paths import ROOT
from tests.support.ray_nodes import cluster
from tests.support.studies import tiny, write

pytestmark = pytest.mark.long

OVERRIDES = (
    "source.dataset.limit=512",
    "source.pretrainings.standard.train.recipe.epochs=2",
    "pruning={imp: {method: imp, rounds: 3,"
    " retraining: {recipe: {epochs: 15, batch_size: 32, lr: 0.05}}}}",
    "downstream.0.dataset.limit=400",
    "downstream.0.levels=[0,3]",
    "downstream.0.regimes.standard.recipe.epochs=20",
    "downstream.0.regimes.adversarial.recipe.epochs=10",
)


def place(folder, *more, workers=2, **environment):
    """The number of processes of a chain moves results: it is held fixed."""
    folder.mkdir(exist_ok=True)
    write(tiny(*OVERRIDES), folder)
    command = ("tuner", "run", "tiny.yaml", "--workers", str(workers), *more)
    return Place(folder, command, environment)


def test_a_study_goes_on_when_nodes_die(tmp_path):
    """One node dies during IMP and is not replaced until that is over, one during transfers."""
    calm = place(tmp_path / "calm")
    kills.run(calm, [], random.Random(0))
    folder = tmp_path / "shaken"
    with cluster(**place(folder).counted()) as ray:
        ray.add(2)
        second = ray.add(3)
        shaken = place(folder, "--address", ray.address, **ray.own)

        def at_work():
            """Epochs that have ended of the trainings whose results are not there yet."""
            complete = {key for kind in storage.KINDS for key in storage.keys(shaken.root, kind)}
            ended = [event.key for event in shaken.log if event.what == "ended"]
            return Counter(key for key in ended if key not in complete)

        def retraining():
            return len(storage.keys(shaken.root, "tickets")) == 1 and at_work().total() >= 5

        def transferring():
            return len(storage.keys(shaken.root, "transfers")) >= 1 and len(at_work()) == 2

        with shaken.start() as command:
            command.until(retraining)
            second.kill()
            command.until(lambda: command.has_come_to("transfers"))
            third = ray.add(4)
            command.until(transferring)
            third.kill()
            code, out, err = command.end()
    assert code == 0, out + err + storage.logs(shaken.root)
    lines = [line for line in out.splitlines() if line.startswith("node ")]
    # Ray notices the last death when the run may be over.
    changes = (("127.0.0.3", "lost"), ("127.0.0.4", "joined"), ("127.0.0.4", "lost"))
    assert len(lines) >= 2
    for line, (address, change) in zip(lines, changes, strict=False):
        assert address in line and change in line
    assert storage.comparable(shaken.root) == storage.comparable(calm.root)
    assert epochs.trained_again(shaken.log, shaken.root) == []
    again = epochs.repeated(shaken.log)
    assert len(again) >= 2 and max(again) <= 1


def test_one_node_prunes_while_the_other_transfers_until_one_of_them_dies(tmp_path):
    """On what is left the chain has the right of way, whichever node it was on."""
    calm = place(tmp_path / "calm", workers=1)
    kills.run(calm, [], random.Random(0))
    folder = tmp_path / "shaken"
    with cluster(**place(folder).counted()) as ray:
        ray.add(2)
        second = ray.add(3)
        shaken = place(folder, "--address", ray.address, workers=1, **ray.own)
        sources = storage.keys(calm.root, "thetas") | storage.keys(calm.root, "tickets")

        def side_by_side():
            """Is a ticket's re-training in the middle, and a transfer too?"""
            last = {event.key: event for event in shaken.log if event.what == "ended"}
            middle = {key for key, event in last.items() if 2 <= event.number <= 12}
            there = {key for kind in storage.KINDS for key in storage.keys(shaken.root, kind)}
            at_work = middle - there
            return at_work & sources and at_work - sources

        with shaken.start() as command:
            command.until(side_by_side)
            second.kill()
            code, out, err = command.end()
    assert code == 0, out + err + storage.logs(shaken.root)
    assert storage.comparable(shaken.root) == storage.comparable(calm.root)
    assert epochs.trained_again(shaken.log, shaken.root) == []
    again = epochs.repeated(shaken.log)
    assert again and max(again) <= 1


def test_a_run_whose_head_dies_ends_and_says_how_to_go_on(tmp_path):
    with cluster() as ray:
        head = ray.add(2)
        ray.add(3)
        shaken = place(tmp_path, "--address", ray.address, **ray.own)
        with shaken.start() as command:
            command.until(lambda: command.is_in("source"))
            head.kill()
            began = time.monotonic()
            code, _, err = command.end()
    print(f"the run ended {time.monotonic() - began:.1f} s after its head")
    assert code == 1, err
    assert err.splitlines()[-1].endswith(f"python -m tuner {' '.join(shaken.command[1:])}")


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


def assert_refused(folder, ray, node, *words):
    """`run` does not take this cluster: one line names the node and what it lacks."""
    write(tiny(*OVERRIDES), folder)
    code, out, err = call(
        "tuner", "run", "tiny.yaml", "--address", ray.address, cwd=folder, **ray.own
    )
    assert (code, out) == (2, ""), err
    (line,) = err.splitlines()
    assert f"node {node} " in line
    for word in words:
        assert word in line
    assert storage.files(folder / "results") == {}
    assert not list((folder / "results").glob(".nodes*"))


def test_a_node_without_our_packages_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    with cluster() as ray:
        ray.add(2)
        ray.add(3, PYTHONPATH=str(tmp_path))
        assert_refused(tmp_path, ray, "127.0.0.3", "search_spaces")


def test_a_node_with_another_version_is_named(tmp_path):
    for name in ("search_spaces", "trainables", "tuner"):
        shutil.copytree(ROOT / name, tmp_path / "other" / name)
    with (tmp_path / "other" / "trainables" / "training" / "loop.py").open("a") as file:
        file.write("# Changed since.\n")
    with cluster() as ray:
        ray.add(2, PYTHONPATH=str(tmp_path / "other"))
        assert_refused(tmp_path, ray, "127.0.0.2", "trainables")


def test_a_node_that_does_not_see_the_storage_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLIND)
    with cluster() as ray:
        ray.add(2, PYTHONPATH=f"{tmp_path}:{ROOT}", UNSEEN=str(tmp_path / "results"))
        assert_refused(tmp_path, ray, "127.0.0.2", str(tmp_path / "results"))
