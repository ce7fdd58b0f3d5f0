"""python -m tuner masks: what a transfer to instance segmentation finds, as a picture."""

from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import InputError
from search_spaces.spec import Transfer
from trainables.store import atomic
from tuner.commands.networks.named import NameArg, Named, StudyOpt, resolve
from tuner.options import DataOpt, SetOpt, StorageOpt, WithOpt, asked
from tuner.runtime.settings import Settings

OutOpt = Annotated[Path, typer.Option(help="The PNG file to write.")]
ImagesOpt = Annotated[int, typer.Option(min=1, max=64, help="How many test images.")]
WIDTH = 900
"""Pixels up to which the picture is enlarged, by a whole factor: of small images it is small."""


def masks(
    name: NameArg,
    study: StudyOpt = "nuclei",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    images: ImagesOpt = 4,
    out: OutOpt = Path("masks.png"),
) -> None:
    """Draw the masks that a finished transfer finds: a row for each test image, as it is labelled,
    as it is segmented, and as it is under the study's attack."""
    of = resolve(name, asked(study, overrides, fragments), Settings(storage, data))
    content = _drawn(of, images)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(out, content)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from None
    typer.echo(f"wrote {out}: labelled, segmented, segmented under attack")


def _drawn(of: Named, images: int) -> bytes:
    """The picture as a PNG file."""
    spec = of.spec
    if not isinstance(spec, Transfer) or spec.dataset.kind != "instances":
        raise InputError(f"{of.path}: finds no masks: name a transfer to instance segmentation")
    import torch
    from PIL import Image

    from trainables.data import datasets
    from trainables.jobs.transfer import trained_network
    from trainables.judging.pictures import picture

    try:
        net = trained_network(spec, of.ledger, torch.device("cpu"))
    except FileNotFoundError:
        raise InputError(
            f"{of.path}: its weights were not kept: run the study again with --keep-weights all, "
            "in another --storage"
        ) from None
    drawn = picture(net, datasets.splits(spec.dataset).test, spec.evaluation.attack, images)
    factor = max(1, WIDTH // drawn.shape[1])
    buffer = BytesIO()
    Image.fromarray(drawn.repeat(factor, 0).repeat(factor, 1)).save(buffer, "PNG")
    return buffer.getvalue()
