"""What a stage's progress shows, on a terminal and elsewhere."""

import io
import time

import pytest
from rich.console import Console

from tests.support import terminal
from tuner.runtime.progress import StageProgress, time_left, waiting

CHATTY = """
import logging, os, subprocess, sys, time
from pathlib import Path
from tuner.runtime.console import quiet
from tuner.runtime.progress import StageProgress, waiting

said = "LIBRARY " * 20
with quiet(Path("run.log")) as console:
    with waiting(console, "starting what takes a while"):
        time.sleep(0.5)
    work = ["theta a" + " with a very long name" * 9 + ": epoch 1/2", "b: epoch 2/2", "c", "d", "e"]
    with StageProgress(console, "transfers (searches may ask for more)", 0, 90, lambda: work) as p:
        for _ in range(45):
            p.advance(note="best " * 40)
            print(said)
            print(said, file=sys.stderr)
            logging.getLogger("ray").error(said)
            os.write(1, said.encode())
            time.sleep(0.03)
        subprocess.run(["echo", said], check=True)
        time.sleep(0.6)
    console.print("over")
"""


@pytest.mark.parametrize("columns", [80, 120])
def test_what_libraries_print_does_not_reach_the_screen(tmp_path, columns):
    (tmp_path / "chatty.py").write_text(CHATTY)
    shown = terminal.run("chatty.py", cwd=tmp_path, columns=columns)
    assert shown.code == 0, shown.text
    assert "LIBRARY" not in shown.text
    assert (tmp_path / "run.log").read_text().count("LIBRARY") == 20 * (4 * 45 + 1)
    drawn = shown.drawn
    assert any("starting what takes a while" in line for line in drawn)
    assert any("45/90" in line and "left" in line for line in drawn)
    assert any("b: epoch 2/2" in line for line in drawn)
    assert any("2 more at work" in line for line in drawn)
    assert max(map(len, drawn)) <= columns
    assert [line for line in drawn if line.strip()][-1] == "over"


INTERRUPTED = """
import os, signal, subprocess, time
from pathlib import Path
from tuner.runtime.console import quiet
from tuner.runtime.interrupts import interruptible
from tuner.runtime.progress import StageProgress

with interruptible(lambda: "3 of 9 results") as at_last, quiet(Path("run.log")) as console:
    at_last(lambda: time.sleep(1))
    with StageProgress(console, "transfers", 3, 9, lambda: ["a: epoch 1/2"]):
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
"""


def test_nothing_is_drawn_over_what_an_interruption_says(tmp_path):
    (tmp_path / "ended.py").write_text(INTERRUPTED)
    shown = terminal.run("ended.py", cwd=tmp_path, columns=80)
    assert shown.code == 143, shown.text
    said = [line for line in shown.drawn if line.strip()]
    assert said[-2].endswith("3 of 9 results are kept") and said[-1].startswith("to go on: ")
    assert any("3/9" in line for line in said)


def test_time_left_is_told_once_there_is_a_pace():
    assert time_left(2, 10, 20.0) == ""
    assert time_left(3, 10, 30.0) == "about 100 s left"
    assert time_left(3, 100, 30.0) == ""
    assert time_left(20, 100, 200.0) == "about 17 min left"
    assert time_left(20, 0, 200.0) == ""


@pytest.fixture
def piped():
    """A console that is no terminal."""
    return Console(file=io.StringIO(), width=80)


def lines(console):
    return console.file.getvalue().splitlines()


def test_without_a_terminal_lines_are_few(piped):
    work = []
    with StageProgress(piped, "transfers", 2, 40, lambda: work) as progress:
        work.append("a: epoch 1/9")
        deadline = time.monotonic() + 30
        while len(lines(piped)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(20):
            progress.advance()
    first, begun, last = lines(piped)
    assert first == "transfers: 2/40"
    assert begun == "transfers: 2/40, a: epoch 1/9"
    assert last.startswith("transfers: 22/40, about ")


def test_more_to_come_is_counted(piped):
    with StageProgress(piped, "transfers", 0, 2) as progress:
        progress.advance(left=5)
    assert lines(piped)[-1].startswith("transfers: 1/6")


def test_without_a_terminal_a_start_is_a_line_or_nothing(piped):
    with waiting(piped, "starting"):
        pass
    with waiting(piped, "looking", plain=False):
        pass
    assert lines(piped) == ["starting ..."]
