"""Networks of libraries, of RobustBench's kind and of the user's own, from theta to transfer."""

import pytest
import torch

from search_spaces import grid
from search_spaces.finished.evidence import MaskEvidence
from search_spaces.reading import studies
from tests.support.pages import blocks
from tests.trainables.jobs.test_chain_and_transfer import chain_of, worker
from trainables.evidence import masks as evidence
from trainables.jobs import transfer
from trainables.jobs.chain import run_chain
from trainables.pruning import masks
from trainables.store.tensors import read
from tuner.storage.inputs import resolve

YAML = """
name: others
source:
  dataset: {name: digits, size: 8, limit: 64}
  model: {arch: resnet8}
  pretrainings: {standard: {train: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}}
pruning:
  imp: {method: imp, rounds: 3, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
downstream:
  - dataset: {name: mnist-mini, size: 8, limit: 48}
    levels: [0, 3]
    seeds: [0]
    regimes:
      standard: {recipe: {epochs: 1, batch_size: 16, lr: 0.05}}
      adversarial:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 1, batch_size: 16, lr: 0.05}
evaluation: {attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.05}}
"""
VIT = "{patch_size: 4, depth: 1, embed_dim: 12, num_heads: 3}"
MODELS = {
    "wrn": "{arch: wrn-10-1}",
    "vit": f"{{arch: 'timm:vit_tiny_patch16_224', options: {VIT}}}",
    "torchvision": "{arch: 'torchvision:shufflenet_v2_x0_5'}",
    "own": "{arch: 'page_net:network', options: {width: 4}}",
}


@pytest.mark.parametrize("kind", MODELS)
def test_theta_tickets_and_transfers(kind, tmp_path, monkeypatch):
    if kind == "vit":
        pytest.importorskip("timm")
    (tmp_path / "page_net.py").write_text(*blocks("networks.md", "python"))
    monkeypatch.syspath_prepend(tmp_path)
    content = studies.parse(YAML.replace("{arch: resnet8}", MODELS[kind]), "others")
    study = resolve(studies.validate(content, "others"), tmp_path)
    at = worker(tmp_path / "results")
    assert len(list(run_chain(chain_of(study), at))) == 4
    theta = read(at.ledger.file(chain_of(study).theta, "weights.safetensors"))
    tickets = grid.tickets(study)
    for cell in tickets:
        kept, total = masks.counts(read(at.ledger.file(cell.ticket, "mask.safetensors")))
        assert kept == round(total * 0.8**cell.level)
    _, *others = evidence.compare(MaskEvidence(tickets=(tickets[-1].ticket,)), at.ledger)
    assert set(others[0]) == {"0.npz"}
    for cell in grid.transfers(study):
        task = transfer.prepare(cell.transfer, at.ledger, torch.device("cpu"))
        for name, value in task.net.named_parameters():
            if name in (task.mask or {}):
                assert torch.equal(value, theta[name].masked_fill(~task.mask[name], 0))
        (*_, record) = transfer.run(task, at.ledger)
        assert record["ends"]
        for name, mask in (task.mask or {}).items():
            assert not dict(task.net.named_parameters())[name][~mask].any()
        assert 0 <= at.ledger.result(cell.transfer)["test"]["ra"] <= 1
