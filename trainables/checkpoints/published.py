"""Where weights that are published by name are, and where their file lies in the data folder."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint, Model, library_and_name

ENDPOINT = "HF_ENDPOINT"
"""The variable that names another host than Hugging Face's own, as its tools read it."""
FOLDER = "weights"


@dataclass(frozen=True)
class Published:
    """A file: where it is fetched from, and where it is put."""

    url: str
    file: Path


def published(load: Checkpoint, model: Model, root: Path) -> Published | None:
    """The file of weights that timm or a Hugging Face repository has, below the data folder `root`;
    None for any other checkpoint. Raises InputError where timm has no such weights."""
    if load.format == "huggingface":
        owner, repository, file = (load.weights or "").split("/", 2)
        return _hosted(f"{owner}/{repository}", file, load.revision or "main", root)
    if load.format == "timm":
        known = configuration(load, model)
        repository, _, revision = known.hf_hub_id.partition("@")
        file = known.hf_hub_filename or "model.safetensors"
        return _hosted(repository, file, revision or "main", root)
    return None


def configuration(load: Checkpoint, model: Model) -> Any:
    """timm's entry for weights of a network: hf_hub_id, mean and std are there. Raises InputError
    where there is none."""
    library, name = library_and_name(model.arch)
    if library != "timm":
        raise InputError(
            f"format timm: {model.arch} is none of timm's networks: choose timm:NAME, or another "
            "format"
        )
    try:
        import timm
    except ImportError:
        raise InputError("format timm: timm is not installed: pip install '.[timm]'") from None
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")]
    known = timm.get_pretrained_cfg(f"{name}.{load.weights}") if load.weights in tags else None
    if known is None or not known.hf_hub_id:
        raise InputError(
            f"timm has no weights {load.weights} of {name}, only {', '.join(tags) or 'none'}"
        )
    return known


def _hosted(repository: str, file: str, revision: str, root: Path) -> Published:
    host = os.environ.get(ENDPOINT, "https://huggingface.co").rstrip("/")
    if not host.startswith(("https://", "http://")):
        raise InputError(f"{ENDPOINT}={host}: must begin with https:// or http://")
    url = f"{host}/{repository}/resolve/{revision}/{file}"
    return Published(url, root / FOLDER / repository / revision / file)
