"""A tiny study that is finished in a storage: one theta, one ticket, four transfers, really trained
for an epoch or two on a hundred images, without Ray."""

from pathlib import Path

import torch

from search_spaces import grid
from search_spaces.reading import studies
from search_spaces.study import Study
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import Ledger
from trainables.training.ranks import Shard

CPU = torch.device("cpu")
LEVEL = 12
YAML = f"""
name: tiny
source:
  dataset: {{name: digits, size: 8, limit: 96}}
  model: {{arch: ARCH}}
  pretrainings: {{standard: {{train: {{recipe: {{epochs: 1, batch_size: 32, lr: 0.05}}}}}}}}
pruning:
  magnitude: {{method: one_shot, levels: [{LEVEL}]}}
downstream:
  - dataset: {{name: mnist-mini, size: 8, limit: 96}}
    levels: [0, {LEVEL}]
    seeds: [0]
    regimes:
      standard: {{recipe: {{epochs: 1, batch_size: 16, lr: 0.05}}}}
      adversarial:
        attack: {{kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}}
        recipe: {{epochs: 1, batch_size: 16, lr: 0.05}}
evaluation: {{attack: {{kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.05}}}}
"""
OURS = "resnet8, width: 8"


def write(folder: Path, arch: str = OURS) -> Path:
    """The study's file, FOLDER/tiny.yaml."""
    path = folder / "tiny.yaml"
    path.write_text(YAML.replace("ARCH", arch))
    return path


def finish(path: Path, ledger: Ledger) -> Study:
    """Trains all of a study's file that the ledger lacks; weights are kept."""
    study = studies.load(str(path), [])
    worker = Worker(ledger, Shard(), CPU)
    for cell in grid.thetas(study):
        list(run_chain(Chain(theta=cell.theta, plans=tuple(study.pruning.values())), worker))
    for cell in grid.transfers(study):
        if not ledger.has(cell.transfer):
            list(transfer.run(transfer.prepare(cell.transfer, ledger, CPU), ledger))
    return study
