"""Ctrl-C and SIGTERM: one line says what is kept, everything of ours ends, a second one at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# A process with a child and a grandchild; what holds the main thread differs.
PROGRAM = """
import subprocess, sys, time
from tuner.runtime.interrupts import interruptible

def kept():
    time.sleep(float(sys.argv[3]))
    return "3 of 7 results of s"

GRANDCHILD = "import time; time.sleep(60)"
CHILD = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {GRANDCHILD!r}]);"
CHILD += "print(p.pid, flush=True); p.wait()"
with interruptible(kept) as at_last:
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    print(child.pid, child.stdout.readline().strip(), flush=True)
    exec(sys.argv[2])
"""
BUSY = {
    "sleep": "time.sleep(60)",
    "a lock": "import threading; a = threading.Lock(); a.acquire(); a.acquire()",
    "another's handler": "import signal; signal.signal(signal.SIGINT, lambda *_: None);"
    "time.sleep(60); time.sleep(60)",
    "a pool": "from concurrent.futures import ThreadPoolExecutor; pool = ThreadPoolExecutor();"
    "pool.submit(time.sleep, 60); pool.shutdown()",
}


def start(doing, kept_seconds=0.0):
    command = [sys.executable, "-c", PROGRAM, "run", doing, str(kept_seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    children = [int(number) for number in process.stdout.readline().split()]
    assert len(children) == 2
    time.sleep(0.3)  # It gets to what holds it.
    return process, children


def alive(process):
    """Does it run? One that has ended and waits to be fetched does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(processes, within=2.0):
    until = time.monotonic() + within
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(alive, processes))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("doing", BUSY.values(), ids=BUSY)
def test_it_says_what_is_kept_and_ends_with_all_it_started(number, doing):
    process, children = start(doing)
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    first, second = err.splitlines()
    assert first == f"interrupted ({number.name}): 3 of 7 results of s are kept"
    assert second.startswith("to go on: python -m tuner run ")
    assert_gone(children)


def test_a_second_one_ends_at_once():
    process, children = start(BUSY["sleep"], kept_seconds=60)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130
    assert_gone(children)


def test_what_takes_too_long_is_not_waited_for():
    process, children = start(BUSY["sleep"], kept_seconds=60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 143
    assert_gone(children)


def test_something_may_be_done_last_and_is_not_waited_for_long():
    """What is said comes first, then the rest."""
    doing = "at_last(lambda: os.write(2, b'the first\\n')); at_last(lambda: time.sleep(60));"
    doing += "at_last(lambda: os.write(2, b'the last\\n'));"
    process, children = start("import os;" + doing + BUSY["sleep"])
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=7)
    assert process.returncode == 143
    said, command, *done = err.splitlines()
    assert "SIGTERM" in said and command.startswith("to go on: ")
    assert done == ["the first", "the last"]
    assert_gone(children)


def test_giving_up_says_why_and_ends_likewise():
    process, children = start(
        "from tuner.runtime.interrupts import give_up; give_up('Ray is gone');" + BUSY["sleep"]
    )
    _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    first, second = err.splitlines()
    assert first == "Ray is gone: 3 of 7 results of s are kept"
    assert second.startswith("to go on: python -m tuner run ")
    assert_gone(children)


def test_what_dies_of_the_end_does_not_change_its_reason():
    """Whoever watches the children sees them go, and gives up: that comes after the signal."""
    process, children = start(
        "import threading; from tuner.runtime.interrupts import give_up;"
        "watch = lambda: [child.wait(), [give_up('a child is gone') for _ in range(999)]];"
        "threading.Thread(target=watch, daemon=True).start();"
        "more = [subprocess.Popen(['sleep', '60']) for _ in range(40)];" + BUSY["sleep"]
    )
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert "SIGINT" in err.splitlines()[0]
    assert_gone(children)


def test_afterwards_signals_are_what_they_were():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, signal, threading, time\n"
            "from tuner.runtime.interrupts import interruptible\n"
            "before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]\n"
            "for _ in range(3):\n"
            "    with interruptible(lambda: ''): pass\n"
            "after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]\n"
            "assert after == before\n"
            "assert signal.set_wakeup_fd(-1) == -1\n"
            "until = time.monotonic() + 5\n"
            "while threading.active_count() > 1 and time.monotonic() < until: time.sleep(0.01)\n"
            "assert threading.active_count() == 1\n"
            "left = len(os.listdir('/proc/self/fd'))\n"
            "assert left <= 5, left\n",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
