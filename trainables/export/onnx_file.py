"""A network as an ONNX file, and ONNX Runtime's answers."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import InputError

INPUT, OUTPUT = "pixels", "logits"
_MISSING = "onnx: {} is not installed: pip install '.[export]'"


def to_onnx(net: nn.Module, images: Tensor) -> bytes:
    """A network in eval mode as an ONNX file: `pixels` (batch, C, H, W) in [0, 1], of the size of
    `images`, to `logits` (batch, classes), whatever the batch; the normalisation is inside. Raises
    InputError where onnx is not installed."""
    _installed("onnx")
    batch = {0: "batch"}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        # The exporter by tracing: one second, and onnx is all that it needs.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (images[:2].contiguous(),),
            file,
            dynamo=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: batch, OUTPUT: batch},
        )
        return file.read_bytes()


def runner(model: bytes, threads: int) -> Callable[[Tensor], Tensor]:
    """Images (N, C, H, W) to logits by ONNX Runtime on the CPU. Raises InputError where it is not
    installed."""
    runtime = _installed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Threads that wait for more by spinning would take time from whoever is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(logits)

    return run


def _installed(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(_MISSING.format(package)) from None
