"""One run of a study at a time, and no lock outlives its process."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from search_spaces.errors import InputError
from tuner.runtime.lock import only_run

HOLD = """
import subprocess, sys, time
from pathlib import Path
from tuner.runtime.lock import only_run
with only_run(Path(sys.argv[1]), "s"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_names_the_first(tmp_path):
    with (
        only_run(tmp_path, "s"),
        pytest.raises(InputError, match=f"process {os.getpid()} on "),
        only_run(tmp_path, "s"),
    ):
        pytest.fail("two runs at once")
    with only_run(tmp_path, "s"), only_run(tmp_path, "other"):
        pass


def test_a_killed_run_frees_its_lock_though_its_children_live(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(InputError, match=f"process {holder.pid} "), only_run(tmp_path, "s"):
                pytest.fail("two runs at once")
            holder.kill()
            holder.wait()
            with only_run(tmp_path, "s"):
                assert os.kill(child, 0) is None
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    """As Lustre is, mounted without flock."""

    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    words = rf"storage {tmp_path}: its file system has no locks .*: mount it with them"
    with pytest.raises(InputError, match=words), only_run(tmp_path, "s"):
        pytest.fail("nothing keeps a second run out")
