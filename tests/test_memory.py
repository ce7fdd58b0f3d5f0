"""Freed memory is kept where glibc is, and a user's own wishes stand."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading
from trainables.memory import keep_freed
found = keep_freed() if sys.argv[1] == "keep" else None
import torch
def work():
    for step in range(24):
        if step == 4:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(2**20) for _ in range(24)]
        del tensors
    print(found, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(how, **environment):
    """(what keep_freed said, pages mapped anew) while 96 MB are allocated and freed, 20 times, in a
    thread, as Ray runs trainings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    said, count = done.stdout.split()
    return said, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_memory_is_mapped_once():
    said, kept = faults("keep")
    if said == "False":
        pytest.skip("no glibc")
    _, given_back = faults("no")
    assert given_back > 20 * kept


def test_a_users_own_settings_stand():
    assert faults("keep", MALLOC_ARENA_MAX="4")[0] == "False"
