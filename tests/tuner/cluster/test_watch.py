"""A storage that vanishes ends the run that works on it, at once, and is not made anew."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

PROGRAM = """
import shutil, sys, time
from pathlib import Path
from trainables.store.ledger import open_ledger
from tuner.cluster import watch
from tuner.runtime.interrupts import interruptible

root = open_ledger(Path(sys.argv[1])).root
with interruptible(lambda: f"{len(list(root.iterdir()))} results"), watch.storage(root):
    time.sleep(1.2)
    if sys.argv[2] == "unmounted":
        shutil.rmtree(root)
        root.mkdir()
    elif sys.argv[2] == "removed":
        shutil.rmtree(root)
    elif sys.argv[2] == "hidden for a moment":
        root.rename(root.with_name("hidden"))
        time.sleep(0.2)
        root.with_name("hidden").rename(root)
    time.sleep(3 if sys.argv[2].endswith("moment") else 60)
print("went on")
"""


@pytest.mark.parametrize("how", ["removed", "unmounted", "hidden for a moment"])
def test_a_storage_that_vanishes_ends_the_run(tmp_path, how):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "results"), how],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    if how == "hidden for a moment":
        assert (done.returncode, done.stdout) == (0, "went on\n")
        return
    assert done.returncode == 1
    assert str(tmp_path / "results") in done.stderr
    assert not list(tmp_path.rglob("*/*"))
