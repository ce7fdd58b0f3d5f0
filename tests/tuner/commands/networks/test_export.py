"""python -m tuner export on a storage that is finished: the folder, and what is refused."""

import json

import pytest
import torch
import yaml

from search_spaces import grid
from tests.support import finished
from trainables.jobs.transfer import trained_network
from trainables.store.ledger import open_ledger

TICKET = f"standard/magnitude/{finished.LEVEL}"
NAME = f"{TICKET}/mnist-mini/adversarial/0"


@pytest.fixture
def export(tuner, folder, monkeypatch):
    monkeypatch.chdir(folder)
    return lambda *arguments: tuner("export", "--study", "tiny.yaml", *arguments)


def test_a_transfer_becomes_a_folder_that_answers_alike(export, folder, tmp_path):
    out = tmp_path / "deep" / "ticket"
    code, said, err = export(NAME, "--format", "torch", "--out", out)
    assert (code, err) == (0, "") and "README.md" in said
    settings = json.loads((out / "config.json").read_text())
    ledger, study = open_ledger(folder / "results"), finished.studies.load("tiny.yaml", [])
    (cell,) = (c for c in grid.transfers(study) if c.key == settings["key"])
    assert (settings["path"], cell.regime, cell.ticket_cell.level) == (NAME, "adversarial", 12)
    net = trained_network(cell.transfer, ledger, torch.device("cpu"))
    images = torch.rand(3, 1, 8, 8)
    again = torch.export.load(out / "model.pt2").module()
    assert torch.equal(again(images), net(images))


def test_the_hubs_card_has_the_scores_of_the_ledger(export, folder, tmp_path):
    out = tmp_path / "hub"
    assert export(NAME[:-1] + "0", "--format", "huggingface", "--out", out).code == 0
    _, header, text = (out / "README.md").read_text().split("---\n", 2)
    ((result,),) = (index["results"] for index in yaml.safe_load(header)["model-index"])
    study = finished.studies.load("tiny.yaml", [])
    key = json.loads((out / "config.json").read_text())["key"]
    (cell,) = (c for c in grid.transfers(study) if c.key == key)
    scores = open_ledger(folder / "results").result(cell.transfer)["test"]
    assert [m["value"] for m in result["metrics"]] == pytest.approx([scores["sa"], scores["ra"]])
    assert "MNIST" in text and "scikit-learn" in text


@pytest.mark.parametrize("name", [TICKET, "standard/dense"])
def test_a_ticket_is_called_as_it_is_named(export, folder, name):
    assert export(name).code == 0
    out = folder / name.replace("/", "-")
    assert (out / "model.safetensors").is_file()
    assert (out / "mask.safetensors").is_file() == (name == TICKET)
    assert "no scores of its own" in (out / "README.md").read_text()


def test_what_is_there_is_not_written_over(export, tmp_path):
    (tmp_path / "mine").write_text("mine")
    code, out, err = export(NAME, "--out", tmp_path)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "choose another" in err and [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_bad_input_is_one_line(export):
    for arguments, said in (
        (["standard/magnitude/12/mnist/standard/0"], "did you mean"),
        ([NAME, "--format", "pickle"], "safetensors"),
        ([NAME, "--storage", "elsewhere"], "run it first"),
    ):
        code, out, err = export(*arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1) and said in err
