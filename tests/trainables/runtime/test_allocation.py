"""Freed memory is kept where glibc is, and a user's own wishes stand."""

import os
import subprocess
import sys

import pytest

from trainables.runtime.allocation import ENVIRONMENT

PROGRAM = """
import resource, sys, threading
from trainables.runtime.allocation import keep_freed
found = keep_freed() if sys.argv[1] == "keep" else None
import torch
def work():
    for step in range(24):
        if step == 4:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(int(sys.argv[3]) * 2**18) for _ in range(int(sys.argv[2]))]
        del tensors
    print(found, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(how, count, megabytes, **environment):
    """(what keep_freed said, pages mapped anew) while so many tensors of a size are made and freed,
    20 times, in a thread, as Ray runs trainings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, str(count), str(megabytes)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    said, pages = done.stdout.split()
    return said, int(pages)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
@pytest.mark.parametrize(("count", "megabytes"), [(24, 4), (2, 96)])
def test_memory_is_mapped_once(count, megabytes):
    _, given_back = faults("no", count, megabytes)
    # What is mapped anew varies from process to process (of the large tensors, a quarter in some):
    # the settings are at work if it is next to nothing in one of a few.
    for _ in range(5):
        said, kept = faults("keep", count, megabytes, **ENVIRONMENT)
        if said == "False":
            pytest.skip("no glibc")
        if given_back > 20 * max(kept, 10):
            return
    pytest.fail(f"{kept} pages mapped anew, {given_back} where freed memory is given back")


def test_a_users_own_settings_stand():
    assert faults("keep", 1, 1, MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
