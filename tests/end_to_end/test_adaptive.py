"""A level search for real: Ray Tune asks it, a killed or pruned ledger takes it on, MLflow alone
tells the same verdict."""

import json
from shutil import rmtree

import pytest

from search_spaces import grid
from tests.support import storage
from tests.support.commands import call
from tests.support.studies import tiny, write

pytestmark = pytest.mark.long

OVERRIDES = (
    "pruning={random: {method: random, levels: [1, 2, 12]}, one-shot: {method: one_shot,"
    " levels: [9]}}",
    # A narrow margin on few images: no budget this small can settle it.
    "downstream.0.levels={budget: 10, most_seeds: 3}",
    "downstream.0.margin=0.02",
)


def verdict(out):
    """The printed lines of the verdict, both rules."""
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line == "digits")
    end = next(i for i, line in enumerate(lines) if line.startswith("(extreme levels;"))
    return [line.rstrip() for line in lines[start : end + 1]]


def run(folder, *arguments):
    code, out, err = call("tuner", "run", "tiny.yaml", *arguments, cwd=folder)
    assert code == 0, out + err + storage.logs(folder / "results")
    return out


def transfers(folder):
    """Keys of the finished transfers."""
    return storage.keys(folder / "results", "transfers")


def scores(folder):
    """Test scores of the finished transfers by key."""
    results = (folder / "results").glob("transfers/*/result.json")
    return {path.parent.name: json.loads(path.read_text())["test"] for path in results}


def test_a_search_from_first_run_to_settled(tmp_path):
    """One story in one test: each step goes on from the one before."""
    folder, study = tmp_path, write(tiny(*OVERRIDES), tmp_path)
    out = run(folder)
    cells = {cell.key: cell for cell in grid.transfers(study)}
    done, files = transfers(folder), storage.files(folder / "results")
    tried = {(cells[k].labels["pruning"], cells[k].labels["level"]) for k in done}
    assert {("dense", 0), ("random", 12), ("one-shot", 9)} <= tried
    # Two searches of at most ten each share the four transfers of the dense network.
    assert 4 + 3 * 2 + 2 <= len(done) <= 2 * 10 - 4
    assert f"tiny: {len(done)} of {len(done)} transfers complete" in out
    assert "--settle" in out.splitlines()[-1]

    # Again: nothing is trained, the same is printed, and MLflow alone tells it too.
    again = run(folder)
    assert storage.files(folder / "results") == files and "stage" not in again
    assert verdict(again) == verdict(out)
    code, printed, err = call("analysis", "extreme", cwd=folder)
    assert (code, err) == (0, "")
    assert verdict(printed) == verdict(out)
    assert "test-set error included" in printed

    # Some finished transfers are lost: exactly those are trained again, to the same scores.
    before = scores(folder)
    for name in sorted(done)[::5]:
        rmtree(folder / "results" / "transfers" / name)
    restored = run(folder)
    assert transfers(folder) == done
    assert verdict(restored) == verdict(out)
    assert scores(folder) == before

    # On to the end: more seeds, none of what is there again, up to the most seeds of the study.
    files = storage.files(folder / "results")
    settled = run(folder, "--settle")
    after = transfers(folder)
    assert done < after
    assert files.items() <= storage.files(folder / "results").items()
    assert {cells[name].labels["seed"] for name in after} <= set(range(3))
    code, printed, err = call("analysis", "extreme", cwd=folder)
    assert (code, err) == (0, "") and verdict(printed) == verdict(settled)
