"""Ctrl-C, SIGTERM, a full disk and trainings that diverge, with real processes, Ray and MLflow."""

import os
import signal
import time

import pytest

from search_spaces import grid
from tests.support import storage
from tests.support.commands import Command, call, left
from tests.support.small_disk import filled, small_disk
from tests.support.studies import tiny, write

pytestmark = pytest.mark.long

OVERRIDES = (
    "pruning={imp: {method: imp, rounds: 3,"
    " retraining: {recipe: {epochs: 24, batch_size: 32, lr: 0.05}}}}",
    "downstream.0.levels=[0,1,2,3]",
    "downstream.0.regimes.standard.recipe.epochs=20",
    "downstream.0.regimes.adversarial.recipe.epochs=10",
    "search={task: digits, regime: standard, pretraining: standard, objectives: [sa],"
    " trials: 6, confirm: 2, space: {recipe.lr: {log_uniform: [0.01, 0.3]}}}",
)
RESULTS = 1 + 3 + 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One study, interrupted again and again: each test goes on where the one before was ended."""
    folder = tmp_path_factory.mktemp("signals")
    write(tiny(*OVERRIDES), folder)
    return folder


def count(folder, *kinds):
    return sum(len(storage.keys(folder / "results", kind)) for kind in kinds)


def interrupted(command, number, whole_group=False):
    """Sends a signal. The command must end within 10 s with all that it has started, and say how it
    goes on. Returns what it says is kept, and of how much."""
    started, begun = command.below(), time.monotonic()
    (os.killpg if whole_group else os.kill)(command.process.pid, number)
    code, _, err = command.end(30)
    took = time.monotonic() - begun
    assert (code, left(started, 1)) == (128 + number, [])
    assert took < 10
    said, onward = err.splitlines()
    assert number.name in said
    assert onward.endswith(f"python -m tuner {' '.join(command.arguments)}")
    kept, total = (int(word) for word in said.split() if word.isdigit())
    return kept, total


def test_ctrl_c_in_the_source_stage(folder):
    with Command("tuner", "run", "tiny.yaml", cwd=folder) as command:
        command.until(lambda: count(folder, "thetas") == 1)
        # As a terminal does.
        kept, total = interrupted(command, signal.SIGINT, whole_group=True)
    assert total == RESULTS
    assert kept == count(folder, *storage.KINDS) and count(folder, "thetas", "tickets") < 4


def test_sigterm_amid_both_stages(folder):
    before = storage.files(folder / "results")
    with Command("tuner", "run", "tiny.yaml", cwd=folder) as command:
        command.until(lambda: count(folder, "transfers") >= 2 and command.is_in("source"))
        kept, total = interrupted(command, signal.SIGTERM)
    assert total == RESULTS
    assert 3 <= kept <= count(folder, *storage.KINDS) and count(folder, "tickets") < 3
    assert before.items() <= storage.files(folder / "results").items()


def test_sigterm_in_the_transfer_stage(folder):
    before = storage.files(folder / "results")
    with Command("tuner", "run", "tiny.yaml", cwd=folder) as command:
        command.until(lambda: "source stage: " in command.out)
        kept, total = interrupted(command, signal.SIGTERM)
    assert total == RESULTS
    assert 4 <= kept <= count(folder, *storage.KINDS) < RESULTS
    assert before.items() <= storage.files(folder / "results").items()


def test_ctrl_c_in_the_conclusion_and_then_to_the_end(folder):
    before = storage.files(folder / "results")
    with Command("tuner", "run", "tiny.yaml", cwd=folder) as command:
        command.until(lambda: command.is_in("conclusion"))
        assert interrupted(command, signal.SIGINT) == (RESULTS, RESULTS)
    complete = storage.files(folder / "results")
    assert before.items() <= complete.items()
    code, out, err = call("tuner", "run", "tiny.yaml", cwd=folder)
    assert (code, err) == (0, "")
    assert "16 of 16 transfers" in out and "stage" not in out
    assert storage.files(folder / "results") == complete


def test_ctrl_c_in_evidence(folder):
    few = ("--autoattack-images", "0", "--points", "3")
    with Command("tuner", "evidence", "tiny.yaml", *few, cwd=folder) as command:
        command.until(lambda: count(folder, "evidence") >= 3)
        kept, total = interrupted(command, signal.SIGINT)
    assert 3 <= kept <= count(folder, "evidence") and kept < total


def test_ctrl_c_in_a_search(folder):
    with Command("tuner", "search", "tiny.yaml", cwd=folder) as command:
        command.until(lambda: count(folder, "trials") >= 2)
        kept, total = interrupted(command, signal.SIGINT)
    assert total == 6 and 2 <= kept <= count(folder, "trials")


def test_a_disk_that_fills_ends_the_run_in_one_line_and_is_gone_on_with(tmp_path):
    """After three transfers there is no room for a fourth."""
    write(tiny("downstream.0.regimes.standard.recipe.epochs=10"), tmp_path)
    with small_disk(tmp_path / "disk", "4m") as disk:
        asked = ("run", "tiny.yaml", "--storage", str(disk / "results"))
        transfers = disk / "results" / "transfers"
        with Command("tuner", *asked, cwd=tmp_path) as command:
            command.until(lambda: len(storage.keys(disk / "results", "transfers")) >= 3)
            filler = filled(disk)
            code, out, err = command.end()
        assert code == 2, out + err
        (line,) = err.splitlines()
        assert str(disk / "results") in line and "No space left on device" in line
        assert "Traceback" not in out
        kept = len(storage.keys(disk / "results", "transfers"))
        assert 3 <= kept < 16 and not list(transfers.glob(".*"))
        filler.unlink()
        code, out, err = call("tuner", *asked, cwd=tmp_path)
        assert (code, err) == (0, "")
        assert f"transfers: {kept}/16" in out and "16 of 16 transfers" in out


def test_a_study_goes_on_around_what_diverges(tmp_path):
    """A regime that bursts at once, and an IMP round: lines, not crashes."""
    study = tiny(
        "pruning={imp: {method: imp, rounds: 3,"
        " retraining: {recipe: {epochs: 1, batch_size: 32, lr: 1.0e+30}}}}",
        "downstream.0.levels=[0,1,2,3]",
        "downstream.0.regimes.standard.recipe={epochs: 20, batch_size: 32, lr: 1.0e+30}",
    )
    write(study, tmp_path)
    code, out, err = call("tuner", "run", "tiny.yaml", cwd=tmp_path)
    assert (code, err) == (1, "")
    there = {
        c.ticket_cell.level
        for c in grid.transfers(study)
        if c.key in storage.keys(tmp_path / "results", "transfers")
    }
    assert there == {0, 1}
    assert "8 of 16 transfers" in out and "4 diverged" in out
    assert "level 1 diverged in epoch 1" in out and "no ticket from level 2 on" in out
    assert "Traceback" not in out
