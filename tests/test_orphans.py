"""A training process does not outlive the process that started it."""

import subprocess
import sys
import time
from pathlib import Path

CHILD = """
import sys, time
from trainables.orphans import end_with_parent
end_with_parent()
end_with_parent()
print("up", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_ends_soon_after_its_parent_was_killed():
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(1.5)
        assert running(child)
        parent.kill()
    deadline = time.monotonic() + 20
    while running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
