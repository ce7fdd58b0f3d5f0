"""python -m tuner masks: the picture of what a transfer finds, and what has no masks."""

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces import grid
from search_spaces.reading import studies
from tests.support.squares import YAML, zipped
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import open_ledger
from trainables.training.ranks import Shard
from tuner.storage.inputs import resolve

CPU = torch.device("cpu")


@pytest.fixture
def drawn(tmp_path, tuner, monkeypatch):
    """Draws the dense transfer of a finished study."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(YAML)
    zipped(tmp_path / "squares.zip", 10)
    study = resolve(studies.load("tiny.yaml", []), tmp_path)
    ledger = open_ledger(tmp_path / "results")
    chain = Chain(theta=grid.thetas(study)[0].theta, plans=())
    list(run_chain(chain, Worker(ledger, Shard(), CPU)))
    cells = (c for c in grid.transfers(study) if not c.ticket_cell.level)
    spec = next(cell.transfer for cell in cells if cell.regime == "standard")
    list(transfer.run(transfer.prepare(spec, ledger, CPU), ledger))
    return lambda *more: tuner("masks", *more, "--study", "tiny.yaml", "--data", str(tmp_path))


def test_a_row_for_each_image_and_three_columns(drawn, tmp_path):
    name = "standard/dense/masks/standard/0"
    code, said, err = drawn(name, "--images", "2", "--out", "deep/masks.png")
    assert (code, err) == (0, "") and "masks.png" in said
    picture = np.asarray(Image.open(tmp_path / "deep" / "masks.png"))
    # So small images are enlarged, each pixel to a square.
    factor = picture.shape[1] // (3 * 36)
    pixels = picture[::factor, ::factor]
    assert factor > 1 and pixels.shape == (2 * 36, 3 * 36, 3)
    assert (pixels.repeat(factor, 0).repeat(factor, 1) == picture).all()
    images = pixels.reshape(2, 36, 3, 36, 3)[:, :32, :, :32]
    labelled, found, attacked = (images[:, :, k].astype(int) for k in range(3))
    # In colours beside a grey image: two squares of a quarter's side.
    coloured = (labelled.max(-1) - labelled.min(-1) > 60).mean()
    assert coloured == pytest.approx(2 / 16, abs=0.03)
    assert abs(attacked - found).max() > 0


def test_what_finds_no_masks_is_refused(drawn):
    code, _, err = drawn("standard/dense")
    assert code == 2 and "masks" in err and len(err.splitlines()) == 1
