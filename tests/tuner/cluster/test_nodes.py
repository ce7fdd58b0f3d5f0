"""What a node of a cluster must have, and how much of it a process gets; Ray itself: see
test_two_nodes.py."""

import os
import socket
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import InputError
from tuner.cluster import capacity, connection, nodes
from tuner.cluster.capacity import Capacity
from tuner.runtime.settings import Settings


def test_a_node_says_what_it_has(tmp_path):
    there = str(tmp_path)
    found = nodes.look(there, [there, f"{there}/gone"])
    assert found["torch"] == version("torch")
    assert (found["mark"], found["unseen"]) == ("", f"{there}/gone")
    assert len(list(tmp_path.iterdir())) == 1
    assert nodes.lacking(found | {"unseen": ""}, found, tmp_path) == ""
    assert nodes.look(f"{there}/gone", [])["mark"] == "No such file or directory"


def test_the_digest_follows_the_source(tmp_path, monkeypatch):
    before = nodes.look(str(tmp_path), [])
    assert before == nodes.look(str(tmp_path), [])
    for name in ("search_spaces", "trainables"):
        monkeypatch.delitem(nodes.sys.modules, name)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    other = nodes.look(str(tmp_path), [])
    assert other["trainables"] == other["search_spaces"] not in before.values()
    (tmp_path / "trainables" / "__init__.py").write_text("x = 2\n")
    assert nodes.look(str(tmp_path), [])["trainables"] != other["trainables"]


HERE = {
    "search_spaces": "a",
    "trainables": "b",
    "tuner": "c",
    "torch": "2.15.0",
    "mark": "",
    "unseen": "",
}


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"trainables": ""}, ("has no package trainables", "install this project")),
        ({"search_spaces": "x"}, ("another search_spaces", "install the same version")),
        ({"torch": "2.14.1"}, ("another torch than this machine (2.14.1, here 2.15.0)", "install")),
        ({"torch": ""}, ("another torch than this machine (none, here 2.15.0)", "install")),
        ({"mark": "Read-only file system"}, ("/s (Read-only file system)", "choose a --storage")),
        ({"unseen": "/d/x.npz"}, ("does not see /d/x.npz", "(--data)")),
    ],
)
def test_what_a_node_lacks_is_named_with_the_remedy(there, words):
    said = nodes.lacking(HERE | there, HERE, Path("/s"))
    assert all(word in said for word in words)


@pytest.mark.parametrize(
    ("cpus", "processes", "each"),
    [
        ([2], 3, 0.6666),
        ([1, 1], 2, 1.0),
        ([1], 2, 0.5),
        ([1, 2], 4, 0.6666),
        ([3, 1], 5, 0.75),
        ([0, 4], 2, 1.0),
        ([64], 3, 1.0),
    ],
)
def test_processes_share_the_cpus_of_nodes(cpus, processes, each):
    assert nodes.share(cpus, processes) == each


@given(st.lists(st.integers(0, 64), min_size=1, max_size=8).filter(any), st.integers(1, 40))
def test_all_processes_have_room_and_none_more_than_a_cpu(cpus, processes):
    each = nodes.share(cpus, processes)
    assert 0 < each <= 1
    # Ray counts in ten-thousandths.
    assert sum(10_000 * node // round(10_000 * each) for node in cpus) >= processes


def test_a_trial_must_fit_one_node():
    two = Capacity(cpus=4, gpus=2, workers=1, trial_cpus=2, trial_gpus=1)
    capacity.check_placeable(two, [{"CPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}])
    for scattered in ([{"CPU": 1.0, "GPU": 2.0}, {"CPU": 3.0}], []):
        with pytest.raises(InputError, match="no node of the cluster has as many: ask for less"):
            capacity.check_placeable(two, scattered)


def test_an_address_where_somebody_listens_is_left_to_ray(monkeypatch):
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        capacity.check_local(Settings(address=f"127.0.0.1:{port}"))
        for host, kept in (("localhost", "0"), ("127.0.0.1", "0")):
            with connection.reached(f"{host}:{port}"):
                assert os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == kept
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
    with connection.reached("auto"):
        pass
