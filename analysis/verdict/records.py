"""Which test images each transfer gets right, all transfers of a study in one small file.

One bit an image, so that ten thousand transfers judged on ten thousand images take 25 MB.
"""

from collections.abc import Mapping
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

Correct = dict[str, dict[str, NDArray[np.bool_]]]
"""Content key of a transfer -> score ("SA", "RA") -> (N,) bool over the test images."""


def pack(correct: Mapping[str, Mapping[str, NDArray[np.bool_]]]) -> bytes:
    """An .npz of three arrays for each number of images N: N/keys, and N/SA and N/RA with a row of
    packed bits for each key."""
    by_size: dict[int, list[str]] = {}
    for name, scores in correct.items():
        by_size.setdefault(len(scores["SA"]), []).append(name)
    arrays: dict[str, NDArray[np.generic]] = {}
    for images, names in by_size.items():
        arrays[f"{images}/keys"] = np.array(names)
        for score in ("SA", "RA"):
            rows = np.array([correct[name][score] for name in names])
            arrays[f"{images}/{score}"] = np.packbits(rows, axis=1)
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack(content: bytes) -> Correct:
    """What `pack` was given."""
    correct: Correct = {}
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        for images in sorted({int(name.partition("/")[0]) for name in arrays.files}):
            rows = {
                score: np.unpackbits(arrays[f"{images}/{score}"], axis=1, count=images).astype(bool)
                for score in ("SA", "RA")
            }
            for place, name in enumerate(arrays[f"{images}/keys"]):
                correct[str(name)] = {score: bits[place] for score, bits in rows.items()}
    return correct
