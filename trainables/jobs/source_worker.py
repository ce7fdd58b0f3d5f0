"""Ray Train worker of the source stage: a thin shell around a chain."""

import os
from pathlib import Path

import ray.train
import ray.train.torch
import torch

from search_spaces.keys import key
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.runtime.allocation import keep_freed
from trainables.store.ledger import Ledger
from trainables.training.ranks import Shard


def source_worker(config: dict[str, str]) -> None:
    """Computes what the ledger lacks of a chain, reporting each result's key to Ray Train.

    config: `chain`, the JSON of a Chain; `storage`, the ledger's root.
    """
    chain = Chain.model_validate_json(config["chain"])
    keep_freed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    context = ray.train.get_context()
    worker = Worker(
        ledger=Ledger(Path(config["storage"])),
        shard=Shard(context.get_world_rank(), context.get_world_size()),
        device=ray.train.torch.get_device(),
    )
    for spec in run_chain(chain, worker):
        ray.train.report({"found": key(spec)})
