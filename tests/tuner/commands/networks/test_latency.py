"""python -m tuner latency on a storage that is finished: what it prints, keeps and refuses."""

import json
import shutil

import pytest

from search_spaces import grid
from tests.support import finished
from trainables.latency import kept, measure
from trainables.store.ledger import open_ledger

NAME = f"standard/magnitude/{finished.LEVEL}/mnist-mini/adversarial/0"


@pytest.fixture
def latency(tuner, folder, monkeypatch):
    monkeypatch.setattr(measure, "TURN", 0.0)
    monkeypatch.chdir(folder)

    def run(*arguments):
        return tuner("latency", "--study", "tiny.yaml", "--seconds", "0", *arguments)

    return run


def test_a_transfer_is_measured_and_kept(latency, folder):
    code, out, err = latency(NAME, "--json", "--batch", "1,3")
    assert code == 0, err
    record = json.loads(out)
    rows = {row["name"]: row for row in record["rows"]}
    assert {"dense", "as it is"} < set(rows) and set(rows["dense"]["speed"]) == {"1", "3"}
    study = finished.studies.load("tiny.yaml", [])
    (cell,) = (c for c in grid.transfers(study) if c.key == record["key"])
    stored = open_ledger(folder / "results").result(cell.transfer)["test"]
    assert record["tested"] == stored and rows["as it is"]["sa"] == stored["sa"]
    assert all(row["agrees"] == 1 for row in rows.values() if row["name"] != "dense")
    assert rows["as it is"]["nonzero_macs"] < rows["as it is"]["macs"] == rows["dense"]["macs"]
    assert kept.kept(folder / "results", {cell.key}) == {cell.key: record}


@pytest.mark.parametrize("name", [f"standard/magnitude/{finished.LEVEL}", "standard/dense"])
def test_a_ticket_is_measured_as_a_table(latency, name):
    code, out, _ = latency(name, "--batch", "2")
    assert code == 0 and name in out and "x dense" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([NAME, "--batch", "0"], "--batch 0"),
        ([NAME, "--device", "tpu"], "takes cpu or cuda"),
        (["standard/magnitude/7"], "did you mean"),
        ([NAME, "--storage", "elsewhere"], "run it first"),
    ],
)
def test_bad_input_is_one_line(latency, arguments, said):
    code, out, err = latency(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1) and said in err


def test_weights_that_were_not_kept_are_named(latency, folder):
    shutil.move(folder / "results/weights", folder / "away")
    code, _, err = latency(NAME)
    shutil.move(folder / "away", folder / "results/weights")
    assert code == 2 and "not kept" in err


def test_weights_that_have_changed_are_named(latency, folder):
    (file, *_) = (folder / "results/thetas").glob("*/weights.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    code, _, err = latency("standard/dense")
    file.write_bytes(content)
    assert code == 2 and str(file) in err and len(err.splitlines()) == 1
