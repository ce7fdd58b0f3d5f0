"""Has every node of a cluster what trainings take there: our packages, storage, data?"""

import hashlib
import importlib.metadata
import importlib.util
import math
import os
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

from search_spaces.errors import InputError

_OURS = ("search_spaces", "trainables", "tuner")
"""What workers import of ours."""
_ANSWER_SECONDS = 60.0
# Ray takes a silent node for lost after five missed calls, three seconds apart.
_NOTICE_SECONDS = 30.0
_POLL_SECONDS = 1.0

Node = dict[str, Any]


def look(mark: str, places: Sequence[str]) -> dict[str, str]:
    """What this node has: a digest of each of our packages' source and torch's version ("": not
    there); why no file can be made in the folder `mark`, and which of `places` are not there ("":
    all is well).

    It is sent to nodes as it stands here, for they may lack this module or have another.
    """
    facts = {}
    for name in _OURS:
        spec = importlib.util.find_spec(name)
        digest = hashlib.sha256()
        for folder in (spec and spec.origin and spec.submodule_search_locations) or ():
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
                digest.update(file.read_bytes() + b"\0")
        facts[name] = digest.hexdigest() if spec and spec.origin else ""
    try:
        facts["torch"] = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        facts["torch"] = ""
    facts["mark"] = ""
    try:
        Path(mark, uuid.uuid4().hex).write_bytes(b"")
    except OSError as error:
        facts["mark"] = error.strerror or str(error)
    facts["unseen"] = ", ".join(place for place in places if not os.path.exists(place))
    return facts


def check(address: str, storage: Path, places: Sequence[str]) -> None:
    """Asks every node that trains what it has. Raises InputError naming the first that lacks one of
    our packages or has another version than this machine, cannot write the storage, does not see
    one of `places` (absolute paths), or does not answer."""
    import ray

    mark = storage / f".nodes-{uuid.uuid4().hex[:8]}"
    mark.mkdir(parents=True)
    try:
        here = look(str(mark), places)
        asked = _ask(str(mark), places)
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS)
        for question, node in asked.items():
            lack = f"runs no task within {_ANSWER_SECONDS:g} s: see Ray's log there, or take it out"
            if question in answered:
                lack = lacking(_answer(question), here, storage)
            if lack:
                raise InputError(f"--address {address}: node {name_of(node)} {lack}")
    finally:
        rmtree(mark, ignore_errors=True)


def _ask(mark: str, places: Sequence[str]) -> dict[Any, Node]:
    """A question to each node that has anything to train on, with the node."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    nodes = [node for node in alive() if {"CPU", "GPU"} & node["Resources"].keys()]
    return {
        task.options(scheduling_strategy=On(node["NodeID"], soft=False)).remote(mark, places): node
        for node in nodes
    }


def _answer(question: Any) -> dict[str, str] | str:
    """What a node has, or why it could not say."""
    import ray

    try:
        facts: dict[str, str] = ray.get(question)
    except ray.exceptions.RayError as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return facts


def lacking(there: dict[str, str] | str, here: dict[str, str], storage: Path) -> str:
    """What a node lacks, and the remedy; "" for nothing."""
    if isinstance(there, str):
        return f"cannot run a task ({there}): see Ray's log there, or take it out"
    for name in _OURS:
        if not there[name]:
            return (
                f"has no package {name}: install this project in the environment "
                "in which `ray start` is called there"
            )
    for name in (*_OURS, "torch"):
        if there[name] != here[name]:
            versions = f" ({there[name] or 'none'}, here {here[name]})" if name == "torch" else ""
            return (
                f"has another {name} than this machine{versions}: "
                "install the same version on every node and start Ray there again"
            )
    if there["mark"]:
        return (
            f"cannot write the storage {storage} ({there['mark']}): "
            "choose a --storage that all nodes share"
        )
    if there["unseen"]:
        return f"does not see {there['unseen']}: put data on a path that all nodes share (--data)"
    return ""


def alive() -> list[Node]:
    """The nodes that Ray takes for alive, as it describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def with_room(gpus: int = 0) -> list[Node]:
    """The nodes alive, as soon as they have CPUs, and so many GPUs, in all: lost ones may come
    back, or others in their place."""
    while True:
        there = alive()
        if any(having(there, "CPU")) and sum(having(there, "GPU")) >= gpus:
            return there
        time.sleep(_POLL_SECONDS)


def having(nodes: Sequence[Node], resource: str) -> list[float]:
    """How much of a resource each node has."""
    return [node["Resources"].get(resource, 0.0) for node in nodes]


def share(cpus: Sequence[float], processes: int) -> float:
    """The most CPUs, at most one, that each of so many processes can have on nodes with so many
    CPUs: a process is on one node."""
    wishes = {1.0, *(node / many for node in cpus for many in range(1, processes + 1))}
    # Ray counts in ten-thousandths.
    for wish in sorted((math.floor(1e4 * min(1.0, w)) / 1e4 for w in wishes), reverse=True):
        if wish and sum(int(node / wish + 1e-6) for node in cpus) >= processes:
            return wish
    raise ValueError(f"no CPUs for {processes} processes in {cpus}")


def name_of(node: Node) -> str:
    """Address and host name."""
    return f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"


def lost(before: Sequence[Node]) -> bool:
    """Is one of these nodes gone? Where there are several, this waits until Ray would have noticed:
    what worked with a dead node's processes fails sooner."""
    known = {node["NodeID"] for node in before}
    deadline = time.monotonic() + (_NOTICE_SECONDS if len(known) > 1 else 0.0)
    while known <= {node["NodeID"] for node in alive()}:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
