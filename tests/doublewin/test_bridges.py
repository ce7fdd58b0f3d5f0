"""What TensorBoard and Weights & Biases hold afterwards, read back from their own files."""

import json
import sys
from contextlib import suppress

import pytest

from doublewin import InputError, Progress, Study
from doublewin.bridges import TensorBoard, WeightsAndBiases
from search_spaces import grid
from tests.support import made_up
from tests.support.pages import blocks
from tests.support.studies import write
from trainables.store.ledger import open_ledger

EPOCHS = [
    {"number": 1, "loss": 2.0, "accuracy": 0.5, "lr": 0.1, "seconds": 1.0},
    {
        **{"number": 2, "loss": 1.0, "accuracy": 0.75, "lr": 0.05, "seconds": 1.0},
        "val": {"sa": 0.5, "ra": 0.25},
    },
]
TOLD = [
    Progress("source: thetas and tickets", 0, 4),
    Progress("source: thetas and tickets", 0, 4, ("standard: epoch 1/2",)),
    Progress("source: thetas and tickets", 3, 4),
    Progress("transfers (searches may ask for more)", 5, 20),
]
CODE = dict(zip(("tensorboard", "wandb"), blocks("bridges.md", "python"), strict=True))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a made-up study lies as mine.yaml, with all its results. Running it tells what a run
    tells: the notebook's test runs one."""

    def run(study, progress):
        for told in TOLD:
            progress(told)
        return study.results()

    monkeypatch.setattr(Study, "run", run)
    monkeypatch.chdir(tmp_path)
    study = made_up.study().model_copy(update={"name": "mine"})
    write(study, tmp_path)
    ledger = open_ledger(tmp_path / "results")
    made_up.write_source(study, ledger)
    made_up.write_transfers(ledger, grid.transfers(study), EPOCHS)
    return tmp_path


def events(path):
    """All that TensorBoard itself reads in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(path)).Reload()


def scalars(path):
    read = events(path)
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def test_epochs_are_a_table(folder):
    epochs = Study.load("mine.yaml").results().epochs
    assert len(epochs) == 40 and epochs["key"].nunique() == 20
    last = epochs[epochs["number"] == 2].iloc[0]
    assert (last["loss"], last["val_SA"], last["val_RA"]) == (1.0, 0.5, 0.25)
    assert epochs[epochs["number"] == 1]["val_SA"].isna().all()


def test_the_pages_code_fills_tensorboard(folder):
    pytest.importorskip("tensorboard", reason="needs the extra [tensorboard]")
    exec(CODE["tensorboard"], {})
    transfer = scalars(folder / "runs/standard@0/imp-2/digits-1/standard/1")
    expected = {"loss": [(1, 2.0), (2, 1.0)], "val_RA": [(2, 0.25)], "test/SA": [(0, 0.9)]}
    near = pytest.approx
    assert {tag: transfer[tag] for tag in expected} == {
        tag: [(step, near(value)) for step, value in told] for tag, told in expected.items()
    }
    heard = {tag: [value for _, value in told] for tag, told in scalars(folder / "runs").items()}
    assert heard == {"progress/source": [0.0, 0.75], "progress/transfers": [0.25]}
    study = events(folder / "runs").Tags()
    assert study["images"] == ["fig3"] and study["tensors"] == ["verdict/text_summary"]
    assert len(list((folder / "runs").rglob("events.*"))) == 1 + 20


def test_the_pages_code_fills_weights_and_biases(folder, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra [wandb]")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    exec(CODE["wandb"], {})
    tables = {
        path.name.split("_")[0]: json.loads(path.read_text())
        for path in folder.glob("wandb/offline-run-*/files/media/table/*.table.json")
    }
    assert len(tables["transfers"]["data"]) == 20 and len(tables["epochs"]["data"]) == 40
    assert {"theta", "key", "SA", "RA"} <= set(tables["transfers"]["columns"])
    assert list(folder.glob("wandb/offline-run-*/files/media/images/fig3_*.png"))


def test_weights_and_biases_hear_of_progress_once(monkeypatch):
    """By its public functions, recorded."""

    class Recorder:
        def __init__(self):
            self.logged, self.ended = [], None

        def init(self, **settings):
            self.settings = settings
            return self

        def log(self, values):
            self.logged.append({n: v for n, v in values.items() if n != "seconds"})

        def finish(self, exit_code):
            self.ended = exit_code

    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", recorder)
    with suppress(KeyError), WeightsAndBiases("tickets", mode="offline") as run:
        for progress in TOLD:
            run(progress)
        raise KeyError("ends it")
    shares = [("source", 0.0), ("source", 0.75), ("transfers", 0.25)]
    assert recorder.logged == [{f"progress/{stage}": share} for stage, share in shares]
    assert recorder.settings == {"project": "tickets", "mode": "offline"} and recorder.ended == 1


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("torch.utils.tensorboard", lambda folder: TensorBoard(folder), "tensorboard"),
        ("wandb", lambda folder: WeightsAndBiases("tickets"), "wandb"),
    ],
)
def test_without_its_package_it_says_what_to_install(tmp_path, monkeypatch, module, make, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"\.\[{extra}\]"):
        make(tmp_path)


def test_the_pages_code_is_short():
    assert all(len(code.splitlines()) <= 20 for code in CODE.values())
