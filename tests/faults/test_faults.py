"""Ctrl-C, SIGTERM, a full disk and trainings that diverge, with real processes, Ray and MLflow."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.long

YAML = """
name: tiny
source:
  dataset: {name: mnist-mini, size: 8, limit: 256}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: {epochs: 2, batch_size: 32, lr: 0.1}}}
pruning:
  imp: {method: imp, rounds: 3, retraining: {recipe: {epochs: 24, batch_size: 32, lr: 0.05}}}
downstream:
  - dataset: {name: digits, size: 8, limit: 200}
    levels: [0, 1, 2, 3]
    seeds: [0, 1]
    regimes:
      standard: {recipe: {epochs: 20, batch_size: 32, lr: 0.1}}
      adversarial:
        attack: &pgd {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 10, batch_size: 32, lr: 0.1}
evaluation: {attack: *pgd}
search:
  task: digits
  regime: standard
  pretraining: standard
  objectives: [sa]
  trials: 6
  confirm: 2
  space: {recipe.lr: {log_uniform: [0.01, 0.3]}}
"""
RESULTS = 1 + 3 + 16
LINES = re.compile(
    r"interrupted \((\w+)\): (\d+) of (\d+) (results|trials|pieces of evidence) (?:of|on) tiny "
    r"are kept\nto go on: python -m tuner (.*)\n"
)


class Command:
    """`python -m tuner ...`, in a session of its own; `printed` grows while it runs."""

    def __init__(self, folder, *arguments):
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        environment["PYTHONPATH"] = str(ROOT)
        self.arguments, self.printed = arguments, ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tuner", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.printed += line

    def until(self, condition, seconds=150):
        """Waits for it; fails if the command ends before."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.printed
            assert self.process.poll() is None, self.printed + self.process.stderr.read()
            time.sleep(0.02)

    def end(self, seconds=200):
        """(exit code, output, error output)"""
        err = self.process.stderr.read()
        code = self.process.wait(seconds)
        self.reader.join()
        return code, self.printed, err

    def interrupt(self, number, whole_group=False):
        """Sends a signal; (seconds it took to end, exit code, error output, what is left)."""
        started = below(self.process.pid)
        assert len(started) > 3
        before = time.monotonic()
        (os.killpg if whole_group else os.kill)(self.process.pid, number)
        code, _, err = self.end()
        took = time.monotonic() - before
        time.sleep(0.5)
        return took, code, err, [p for p in started if alive(p)]


def stat(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def alive(process):
    found = stat(process)
    return found is not None and found[0] != "Z"


def below(root):
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if found := stat(folder.name):
            parents[int(folder.name)] = int(found[1])
    found, grew = {root}, True
    while grew:
        more = {p for p, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found - {root}


def results(folder):
    """Every file of every result in the storage."""
    files = sorted((folder / "results").glob("*s/[!.]*/*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def count(folder, kind):
    return len(list((folder / "results" / kind).glob("[!.]*")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One study, interrupted again and again: each test goes on where the one before was ended."""
    folder = tmp_path_factory.mktemp("signals")
    (folder / "tiny.yaml").write_text(YAML)
    return folder


def assert_ended(command, ended, number, what):
    """Within 10 s, saying what is kept; returns how much that is, of how much."""
    took, code, err, left = ended
    assert (code, left) == (128 + number, [])
    print(f"{what}: ended {took:.1f} s after {number.name}")
    assert took < 10
    told = LINES.fullmatch(err)
    assert told, err
    assert (told[1], told[4]) == (number.name, what)
    assert told[5] == " ".join(command.arguments)
    return int(told[2]), int(told[3])


def test_ctrl_c_in_the_source_stage(folder):
    command = Command(folder, "run", "tiny.yaml")
    command.until(lambda: count(folder, "thetas") == 1)
    ended = command.interrupt(signal.SIGINT, whole_group=True)  # as a terminal does
    kept, total = assert_ended(command, ended, signal.SIGINT, "results")
    assert total == RESULTS
    assert kept == count(folder, "thetas") + count(folder, "tickets") < 4


def test_sigterm_in_the_transfer_stage(folder):
    before = results(folder)
    command = Command(folder, "run", "tiny.yaml")
    command.until(lambda: count(folder, "transfers") >= 2)
    ended = command.interrupt(signal.SIGTERM)
    kept, total = assert_ended(command, ended, signal.SIGTERM, "results")
    assert total == RESULTS
    assert 6 <= kept <= 4 + count(folder, "transfers") < RESULTS
    assert before.items() <= results(folder).items()


def test_a_second_one_ends_at_once(folder):
    before = results(folder)
    command = Command(folder, "run", "tiny.yaml")
    command.until(lambda: "transfers: " in command.printed)
    started = below(command.process.pid)
    begun = time.monotonic()
    os.kill(command.process.pid, signal.SIGINT)
    os.kill(command.process.pid, signal.SIGINT)
    code, _, _ = command.end()
    assert code == 130 and time.monotonic() - begun < 3
    time.sleep(0.5)
    assert not [process for process in started if alive(process)]
    assert before.items() <= results(folder).items()


def test_ctrl_c_in_the_conclusion_and_then_to_the_end(folder):
    before = results(folder)
    command = Command(folder, "run", "tiny.yaml")
    command.until(lambda: "transfer stage: " in command.printed)
    os.kill(command.process.pid, signal.SIGINT)
    code, out, err = command.end(10)
    assert code == 130 and LINES.fullmatch(err), err
    assert f"{RESULTS} of {RESULTS} results" in err and "Next:" not in out
    done = results(folder)
    assert before.items() <= done.items()
    code, out, err = Command(folder, "run", "tiny.yaml").end()
    assert (code, err) == (0, "")
    assert "16 of 16 transfers complete" in out and "stage" not in out
    assert results(folder) == done


def test_ctrl_c_in_evidence(folder):
    asked = ("evidence", "tiny.yaml", "--autoattack-images", "0", "--points", "3")
    command = Command(folder, *asked)
    command.until(lambda: count(folder, "evidence") >= 3)
    ended = command.interrupt(signal.SIGINT)
    kept, total = assert_ended(command, ended, signal.SIGINT, "pieces of evidence")
    assert 3 <= kept <= count(folder, "evidence") and kept < total


def test_ctrl_c_in_a_search(folder):
    command = Command(folder, "search", "tiny.yaml")
    command.until(lambda: count(folder, "trials") >= 2)
    ended = command.interrupt(signal.SIGINT)
    kept, total = assert_ended(command, ended, signal.SIGINT, "trials")
    assert total == 6 and 2 <= kept <= count(folder, "trials")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_ends_the_run_in_one_line(folder, small_disk, tmp_path):
    """After three transfers there is no room for a fourth."""
    (tmp_path / "tiny.yaml").write_text(YAML.replace("epochs: 24", "epochs: 1"))
    storage = small_disk / "results"
    command = Command(tmp_path, "run", "tiny.yaml", "--storage", str(storage))
    command.until(lambda: len(list((storage / "transfers").glob("[!.]*"))) >= 3)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    code, out, err = command.end()
    assert code == 2, out + err
    assert err == (
        f"error: storage {storage}: cannot be written any more (No space left on device): mend "
        "that and run the same command again; what is complete is kept\n"
    )
    assert "Traceback" not in out
    kept = len(list((storage / "transfers").glob("[!.]*")))
    assert 3 <= kept < 16 and not list((storage / "transfers").glob(".*"))
    filler.unlink()
    code, out, err = Command(tmp_path, "run", "tiny.yaml", "--storage", str(storage)).end()
    assert (code, err) == (0, "")
    assert f"transfers: {kept}/16" in out and "16 of 16 transfers complete" in out


def test_a_study_goes_on_around_what_diverges(tmp_path):
    """A regime that bursts at once, and an IMP round: lines, not crashes."""
    text = YAML.split("search:")[0].replace(
        "epochs: 24, batch_size: 32, lr: 0.05", "epochs: 1, batch_size: 32, lr: 1e30"
    )
    wild = "standard: {recipe: {epochs: 20, batch_size: 32, lr: 1.0e+30}}"
    text = text.replace("standard: {recipe: {epochs: 20, batch_size: 32, lr: 0.1}}", wild)
    (tmp_path / "tiny.yaml").write_text(text)
    code, out, err = Command(tmp_path, "run", "tiny.yaml").end()
    assert (code, err) == (1, "")
    assert "tiny: 8 of 16 transfers complete" in out  # those of levels 0 and 1
    assert "4 diverged; judged by their best state before it" in out
    assert "re-training of level 1 diverged in epoch 1" in out
    assert "there is no ticket from level 2 on" in out
    assert "Traceback" not in out
