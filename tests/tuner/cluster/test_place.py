"""Ray's folder is short, and neither it nor what was started in it outlives a killed driver."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from search_spaces.errors import InputError
from tests.support.paths import ROOT
from tuner.cluster import place

# The child is no descendant when its driver is killed, as Ray's agents are none.
DRIVER = """
import os, subprocess, sys, time
from tuner.cluster import place
with place.own() as folder:
    (folder / "socket").touch()
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    named = {**os.environ, place.MARK: str(folder)}
    child = subprocess.Popen(command, env=named, start_new_session=True)
    print(child.pid, folder, flush=True)
    sys.stdin.read()
"""


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_nothing_outlives_the_driver(how):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    pid, folder = driver.stdout.readline().split()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert Path(folder, "socket").exists() and not gone(int(pid))
        if how == "killed":
            driver.send_signal(signal.SIGKILL)
        driver.communicate()
        assert until(lambda: gone(int(pid)) and not Path(folder).exists(), 10)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.fixture
def long_name(tmp_path, monkeypatch):
    """A temporary folder with a name that is too long for a socket below it."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_long_temporary_folder_is_not_used(long_name):
    with place.own() as folder:
        assert len(os.fsencode(folder)) <= place.LONGEST and folder.is_dir()
        assert list(long_name.iterdir()) == []
    assert not folder.exists()


def test_where_none_is_short_enough_it_is_said(long_name, monkeypatch):
    made = tempfile.mkdtemp

    def mkdtemp(prefix, dir):
        if Path(dir) != long_name:
            raise PermissionError
        return made(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with pytest.raises(InputError, match="TMPDIR"), place.own():
        pytest.fail("nowhere to go")
    assert list(long_name.iterdir()) == []
