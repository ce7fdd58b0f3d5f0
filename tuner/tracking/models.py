"""A winning ticket's network as MLflow keeps models: what `mlflow.pytorch` and `mlflow.pyfunc` load
without this project, and without a pickle."""

import io
import tempfile
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.finished.weights import weights
from search_spaces.grid import TransferCell
from search_spaces.regimes import RegimeName
from tuner.scheduling.worklist import Worklist

if TYPE_CHECKING:
    from trainables.export.taken import Taken

_FIRST: RegimeName = "adversarial"
_EXAMPLES = 2


def network(work: Worklist, ticket: str, dataset: str, fraction: float) -> TransferCell | None:
    """The transfer whose network stands for a ticket, named by its key, on a task: of those whose
    weights are kept, the first seed's, under adversarial training where there is one; None where no
    weights are kept."""
    kept = [
        cell
        for cell in work.grid.transfers.values()
        if cell.ticket_cell.key == ticket
        and (cell.labels["dataset"], cell.labels["fraction"]) == (dataset, fraction)
        and work.ledger.has(cell.transfer)
        and work.ledger.has(weights(cell.transfer))
    ]
    return min(kept, key=lambda cell: cell.regime != _FIRST, default=None)


def as_model(taken: "Taken") -> dict[str, bytes]:
    """The files of an MLflow model, by name: a program that torch.export has traced, with signature
    and example. It takes pixels in [0, 1], (batch, C, H, W) in float32, and gives logits. Raises
    whatever torch raises where the network cannot be traced."""
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def floats(*shape: int) -> Schema:
        return Schema([TensorSpec(np.dtype("float32"), (-1, *shape))])

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(scratch, "model")
        with redirect_stdout(io.StringIO()):
            mlflow.pytorch.save_model(
                taken.net,
                folder,
                signature=ModelSignature(floats(*taken.shape), floats(taken.splits.classes)),
                input_example=taken.images(_EXAMPLES).contiguous().numpy(),
                serialization_format="pt2",
                pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
            )
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}
