"""A study that is run again: what is damaged or new is trained, in chunks, and nothing else."""

import shutil

import pytest

from search_spaces import grid
from tests.support import paths, storage
from tests.support.commands import call
from trainables.store.ledger import Ledger

pytestmark = pytest.mark.long

IN_CHUNKS = {"PYTHONPATH": f"{paths.HOOKS}:{paths.ROOT}", "CHUNK": "9"}


def test_damage_and_a_further_seed_are_trained_and_nothing_else(ran, tmp_path):
    """A flipped bit in a mask, a shortened result: the same bytes come back, nothing else moves."""
    folder = tmp_path / "copy"
    shutil.copytree(ran.folder, folder)
    ledger, before = Ledger(folder / "results"), storage.comparable(ran.ledger.root)
    mask = ledger.folder(grid.tickets(ran.study)[0].ticket) / "mask.safetensors"
    content = bytearray(mask.read_bytes())
    content[-1] ^= 1
    mask.write_bytes(bytes(content))
    scores = ledger.folder(grid.transfers(ran.study)[-1].transfer) / "result.json"
    scores.write_text(scores.read_text()[:-20])
    kept = storage.files(ledger.root)

    wider = ("--set", "downstream.0.seeds=[0,1,2]")
    code, out, err = call(
        "tuner", "run", "tiny.yaml", "--workers", "2", *wider, cwd=folder, **IN_CHUNKS
    )
    assert code == 0, out + err
    named = [line for line in out.splitlines() if line.startswith("damaged: ")]
    assert len(named) == 2
    assert str(mask.parent) in named[0] and str(scores.parent) in named[1]

    after = storage.comparable(ledger.root)
    assert {name: after[name] for name in before} == before
    now = storage.files(ledger.root)
    rewritten = [name for name, content in kept.items() if now[name] != content]
    assert {name.split("/")[1] for name in rewritten} == {mask.parent.name, scores.parent.name}
    new = storage.keys(ledger.root, "transfers") - storage.keys(ran.ledger.root, "transfers")
    assert len(new) == len(grid.transfers(ran.study)) / 2 > 9
