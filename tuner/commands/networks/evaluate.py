"""python -m tuner evaluate: a stranger's network, judged by the platform's protocol, or a study's
transfers judged again by their kept weights."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from search_spaces import own
from search_spaces.checks import AutoAttackCheck, Check, CorruptionsCheck
from search_spaces.errors import InputError
from search_spaces.networks import BY_NAME, TAKES, Checkpoint, Model
from search_spaces.reading import parts
from search_spaces.regimes import Attack, Evaluation
from search_spaces.spec import Dataset
from trainables.data.catalogue import TORCHVISION, channels_and_classes, image_size
from tuner.commands.networks import scores
from tuner.estimate import drafting
from tuner.options import (
    AlphaOpt,
    DataOpt,
    EpsilonOpt,
    NormOpt,
    ProtocolOpt,
    RestartsOpt,
    SetOpt,
    StepsOpt,
    StorageOpt,
    WithOpt,
    asked,
)
from tuner.runtime.console import duration
from tuner.runtime.progress import StageProgress
from tuner.runtime.settings import Settings
from tuner.storage import inputs

if TYPE_CHECKING:
    from trainables.judging.strangers import Score, Stranger

JudgedArg = Annotated[
    str | None,
    typer.Argument(metavar="[STUDY]", help="A study that has run, judged again; or --weights."),
]
WinnersOpt = Annotated[
    bool,
    typer.Option("--winners", help="Of a study: the verdict's tickets and dense, beside its own."),
]
LevelsOpt = Annotated[
    str | None, typer.Option(help="Of a study: these levels and dense, as in 5,10, likewise.")
]
WeightsOpt = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="The weights; of published ones by name, their name."),
]
FormatOpt = Annotated[
    str, typer.Option("--format", help=f"state_dict, robustness, ... or {', '.join(BY_NAME)}.")
]
OnlyOpt = Annotated[
    str | None, typer.Option(metavar="PREFIX", help="Of several networks in a file, this one.")
]
ArchOpt = Annotated[str | None, typer.Option(help=f"The network: {TAKES}.")]
ModelOpt = Annotated[
    str, typer.Option("--model", metavar="YAML", help="Its further fields: '{width: 8, ...}'.")
]
MeanOpt = Annotated[
    str | None,
    typer.Option(help="Of pixels in [0, 1], as 0.5,0.5,0.5; default: the file's, else the data's."),
]
StdOpt = Annotated[str | None, typer.Option(help="Likewise; --mean 0 --std 1 leaves pixels be.")]
DatasetOpt = Annotated[str | None, typer.Option(help=f"The test images: {drafting.DATA}.")]
SizeOpt = Annotated[
    int | None, typer.Option(help="Pixels that images are brought to; default: as they are.")
]
ImagesOpt = Annotated[
    int | None, typer.Option(min=1, help="The first so many test images; default: all.")
]
AutoAttackOpt = Annotated[bool, typer.Option("--autoattack", help="AutoAttack too, in the ball.")]
CorruptionsOpt = Annotated[bool, typer.Option("--corruptions", help="CIFAR-10-C's, too.")]
BatchOpt = Annotated[int | None, typer.Option(help="Images at a time; default: 256.")]
JsonOpt = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write settings and scores there.")
]


def evaluate(
    study: JudgedArg = None,
    weights: WeightsOpt = None,
    arch: ArchOpt = None,
    dataset: DatasetOpt = None,
    layout: FormatOpt = "state_dict",
    only: OnlyOpt = None,
    model: ModelOpt = "{}",
    mean: MeanOpt = None,
    std: StdOpt = None,
    size: SizeOpt = None,
    images: ImagesOpt = None,
    norm: NormOpt = None,
    epsilon: EpsilonOpt = None,
    alpha: AlphaOpt = None,
    steps: StepsOpt = None,
    restarts: RestartsOpt = None,
    protocol: ProtocolOpt = None,
    autoattack: AutoAttackOpt = False,
    corruptions: CorruptionsOpt = False,
    batch_size: BatchOpt = None,
    winners: WinnersOpt = False,
    levels: LevelsOpt = None,
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    output: JsonOpt = None,
) -> None:
    """Judge published weights on a data set's test images as the platform judges a transfer: clean,
    under PGD-20, and on demand under AutoAttack and CIFAR-10-C's corruptions.

    Files may have any layout that a study can load; nothing in them is executed.

    Or judge a STUDY's transfers again by the weights that they have kept: all of it by another
    attack or protocol, as a version of its own; --winners or --levels by a further attack beside
    the study's own, by AutoAttack or corruptions. Nothing is trained.
    """
    attacked = {"norm": norm, "epsilon": epsilon, "alpha": alpha}
    given = {**attacked, "steps": steps, "restarts": restarts}
    if study is not None:
        whose = {"--weights": weights, "--arch": arch, "--dataset": dataset, "--size": size}
        how = {"--images": images, "--mean": mean, "--std": std, "--json": output}
        alone: dict[str, object] = {**whose, **how}
        if unfit := [option for option, value in alone.items() if value is not None]:
            raise InputError(f"evaluate {study}: {', '.join(unfit)}: not of a study: leave out")
        from tuner.commands.networks import again

        wanted = again.Wanted(given, protocol, autoattack, corruptions, winners, levels)
        origin = asked(study, overrides, fragments)
        raise typer.Exit(again.judge_again(origin, Settings(storage, data), wanted))
    if weights is None or arch is None or dataset is None:
        raise InputError("evaluate: name a STUDY that has run, or --weights, --arch and --dataset")
    attack = parts.pgd(given)
    judgement = {"attack": attack, "protocol": protocol or "plain", "batch_size": batch_size}
    checks = further(attack, autoattack, corruptions)
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"--json {output}: there is no folder {output.parent}: make it first")
    shown = _dataset(dataset, size, data)
    network = _model(arch, model, parts.statistics(mean, std, channels_and_classes(shown)[0]))
    stranger = Asked(
        load=_load(weights, layout, only, network, data),
        model=network,
        dataset=shown,
        images=images,
        evaluation=parts.valid(Evaluation, "evaluate", judgement),
        checks=tuple(checks),
    )
    stranger.execute(output)


def further(attack: Attack, autoattack: bool, corruptions: bool) -> list[Check]:
    """The further checks that are asked for; AutoAttack in the attack's ball."""
    checks: list[Check] = []
    if autoattack:
        radius = {"norm": attack.norm, "epsilon": attack.epsilon}
        fields = {"kind": "autoattack", **radius}
        checks.append(parts.valid(AutoAttackCheck, "--autoattack", fields))
    if corruptions:
        checks.append(CorruptionsCheck(kind="corruptions"))
    return checks


@dataclass(frozen=True)
class Asked:
    """A network, and how it is to be judged. images: the first so many; None: all."""

    load: Checkpoint
    model: Model
    dataset: Dataset
    images: int | None
    evaluation: Evaluation
    checks: Sequence[Check]

    def execute(self, output: Path | None) -> None:
        """Judges the network, prints a table, and writes all of it to `output`, if there is one."""
        from trainables.judging import strangers

        began = time.monotonic()
        judged = self._stranger()
        for check in self.checks:
            inputs.check_possible(check, judged.data.classes, "--autoattack")
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        watch = partial(_progress, console)
        known = list(strangers.scores(judged, self.evaluation, self.checks, watch))
        self._print(judged, known, time.monotonic() - began)
        if output is not None:
            _write(output, self._record(judged, known))

    def _stranger(self) -> "Stranger":
        import torch

        from trainables.judging.strangers import stranger
        from trainables.runtime.allocation import keep_freed

        keep_freed()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return stranger(self.load, self.model, self.dataset, device).on(self.images)

    def _print(self, judged: "Stranger", known: "Sequence[Score]", seconds: float) -> None:
        name = Path(self.load.path or "").name or self.load.weights
        count, side = len(judged.data.test), self.dataset.size
        typer.echo(f"{name}: {self.model.arch} on {self.dataset.title}")
        typer.echo(f"{count:,} test images of {side} x {side} pixels, {scores.pixels(judged)}")
        typer.echo()
        scores.table(known)
        attack, by = self.evaluation.attack, self.evaluation.protocol
        iterate = "all iterates decide" if by == "worst_iterate" else "the last iterate decides"
        typer.echo(f"\nPGD: steps of {attack.alpha:.4g}, {iterate}; {duration(seconds)}")
        if known[0].low <= judged.chance:
            typer.echo(
                "note: no better than naming the commonest class: is this the network's data, and "
                "are pixels normalised as in its training? (--mean, --std)"
            )

    def _record(self, judged: "Stranger", known: "Sequence[Score]") -> dict[str, Any]:
        """What was judged, how, and what came out, as JSON."""
        asked = {
            "load": self.load,
            "model": self.model,
            "dataset": self.dataset,
            "evaluation": self.evaluation,
        }
        mean, std = judged.normalisation
        return {
            **{name: s.model_dump(mode="json", exclude_none=True) for name, s in asked.items()},
            "checks": [check.model_dump(mode="json", exclude_none=True) for check in self.checks],
            "normalisation": {"mean": mean, "std": std},
            "images": len(judged.data.test),
            "chance": judged.chance,
            "scores": [score.as_json() for score in known],
        }


def _model(arch: str, further: str, statistics: dict[str, list[str]]) -> Model:
    model = parts.model(arch, further, statistics)
    return model.model_copy(update={"sha256": own.digest(model.own)}) if model.own else model


def _load(weights: str, layout: str, only: str | None, model: Model, data: Path) -> Checkpoint:
    if layout in BY_NAME:
        asked = {"weights": weights}
    else:
        # As given from here, else from the data folder.
        here = Path(weights).expanduser()
        asked = {"path": str(here.absolute() if here.is_file() else here)}
    checkpoint = parts.valid(Checkpoint, "weights", {"format": layout, "only": only, **asked})
    return inputs.weights_file(checkpoint, model, data)


def _dataset(text: str, size: int | None, data: Path) -> Dataset:
    named = inputs.located(drafting.dataset(text, data), data)
    if named.name in TORCHVISION:
        from trainables.data.readers import require

        require(named)
    fields = named.model_dump() | {"size": size or max(8, image_size(named))}
    return parts.valid(Dataset, "dataset", fields)


@contextmanager
def _progress(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how many images have been looked at, which the value is told."""
    left = total
    with StageProgress(console, what, 0, total) as progress:

        def seen(count: int) -> None:
            nonlocal left
            left -= count
            progress.advance(count=count)

        yield seen
        # Images that are wrong when clean are not attacked.
        progress.advance(count=left)


def _write(output: Path, record: dict[str, Any]) -> None:
    from trainables.store import atomic

    try:
        atomic.write(output, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--json {output}: cannot be written: {error.strerror}") from None
