"""The card of an exported network: what it is, how good, how it was found, how to load it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import yaml
from numpy.typing import NDArray

from search_spaces import __version__
from search_spaces.regimes import Attack, Regime
from search_spaces.regimes.attacks import ball
from search_spaces.spec import Theta, Transfer
from trainables.export.attribution import attribution
from trainables.export.folder import Written
from trainables.export.taken import Taken
from trainables.training.accuracy import interval

_SCORES = {"SA": "accuracy (SA)", "RA": "robust accuracy (RA)"}


@dataclass(frozen=True)
class About:
    """What a study knows of a network: name, its path there; theta, pruning, regime: the study's
    names for its parts; right: by score, which test images it gets right, (N,); dense: the scores
    of the whole network, likewise transferred, in [0, 1]."""

    name: str
    key: str
    study: str
    version: str
    theta: str
    pruning: str
    regime: str | None = None
    right: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    dense: Mapping[str, float] = field(default_factory=dict)


def card(taken: Taken, about: About, written: Written, hub: bool = False) -> str:
    """The card, in Markdown; with `hub`, behind the header that Hugging Face's hub reads."""
    lines = _header(taken, about) if hub else []
    lines += [f"# {about.name}", "", *_what(taken), "", *_scores(taken, about), ""]
    lines += ["## How it was found", "", *_found(taken, about), ""]
    lines += ["## How it is loaded", "", f"With {written.needs}:", ""]
    lines += ["```python", written.loads.rstrip(), "```"]
    lines += [text for note in written.notes for text in ("", f"Note: {note}.")]
    lines += ["", "## Data", "", *_data(taken), "", "## Versions", "", *_versions(taken, about), ""]
    return "\n".join(lines)


def _header(taken: Taken, about: About) -> list[str]:
    fields: dict[str, Any] = {
        "license": "other",
        "license_name": "terms-of-the-data",
        "pipeline_tag": "image-classification",
        "tags": ["pruning", "lottery-ticket", "adversarial-robustness", "double-win-tickets"],
    }
    results = [
        {
            "task": {"type": "image-classification"},
            "dataset": {"name": taken.dataset.title, "type": taken.dataset.name, "split": "test"},
            "metrics": [
                {"type": "accuracy", "name": _SCORES[score], "value": float(right.mean())}
                for score, right in about.right.items()
            ],
        }
    ]
    if about.right:
        fields["model-index"] = [{"name": about.name, "results": results}]
    return ["---", yaml.safe_dump(fields, sort_keys=False).rstrip(), "---", ""]


def _what(taken: Taken) -> list[str]:
    kept, total = taken.kept
    arch, (channels, height, width) = taken.ticket.theta.model.arch, taken.shape
    sparse = f"{100 * (1 - kept / total):.2f} % of its prunable weights are zero"
    return [
        f"A sub-network of `{arch}`: {sparse} ({kept:,} of {total:,} are kept; the head and "
        "normalisation layers are never pruned)."
        if taken.mask
        else f"A dense `{arch}`, no weight pruned.",
        f"It takes images of {channels} x {height} x {width} pixels in [0, 1], normalises them "
        f"itself, and gives logits of the {taken.splits.classes} classes of {taken.dataset.title}.",
    ]


def _scores(taken: Taken, about: About) -> Iterator[str]:
    if not about.right:
        yield "It was not trained after it was pruned, and has no scores of its own."
        return
    images = len(next(iter(about.right.values())))
    yield f"| on {images:,} test images | this network | 95 % interval | dense network |"
    yield "|---|---|---|---|"
    for score, right in about.right.items():
        low, high = interval(torch.from_numpy(right))
        dense = f"{100 * about.dense[score.lower()]:.1f} %" if about.dense else "not there"
        percent = f"{100 * right.mean():.1f} % | {100 * low:.1f} to {100 * high:.1f} %"
        yield f"| {_SCORES[score]} | {percent} | {dense} |"
    yield ""
    attack = taken.spec.evaluation.attack if isinstance(taken.spec, Transfer) else None
    under = f"RA is accuracy under {_attack(attack)}. " if attack else ""
    yield (
        f"{under}Intervals are over test images, for this one training; the spread over seeds is "
        "in the study's report."
    )


def _found(taken: Taken, about: About) -> Iterator[str]:
    ticket = taken.ticket
    yield f"1. Pre-training `{about.theta}`: {_source(ticket.theta)}."
    if ticket.pruning is not None:
        retraining = ticket.pruning.retraining
        by = f", re-trained in between {_trained(retraining)}" if retraining else ""
        yield (
            f"2. Pruning `{about.pruning}` ({ticket.pruning.method}), level {ticket.level} at "
            f"a rate of {ticket.pruning.rate:g}{by}."
        )
    if isinstance(taken.spec, Transfer):
        share = "" if taken.spec.fraction == 1 else f"{taken.spec.fraction:.0%} of "
        yield (
            f"3. Transfer to {share}{taken.dataset.title}, regime `{about.regime}`: "
            f"{_trained(taken.spec.regime)}, seed {taken.spec.seed}; the best epoch by validation, "
            f"{taken.result['best_epoch']}."
        )


def _source(theta: Theta) -> str:
    train, load = theta.pretraining.train, theta.pretraining.load
    if load is not None:
        return f"published weights ({load.format}: {load.weights or load.path})"
    assert train is not None, "the spec demands one of the two"
    return f"on {theta.dataset.title}, {_trained(train)}, seed {theta.seed}"


def _trained(regime: Regime) -> str:
    under = f"under {_attack(regime.attack)}" if regime.attack else "without an attack"
    epochs = regime.recipe.epochs
    return f"{epochs} epoch{'s' * (epochs > 1)} {under}"


def _attack(attack: Attack) -> str:
    return f"{attack.kind}, steps: {attack.steps}, {ball(attack.norm, attack.epsilon)}"


def _data(taken: Taken) -> Iterator[str]:
    sets = {d.title: d for d in (taken.ticket.theta.dataset, taken.dataset)}
    for dataset in sets.values():
        yield f"- {dataset.title}: {attribution(dataset)}."


def _versions(taken: Taken, about: About) -> Iterator[str]:
    yield f"- study `{about.study}@{about.version}`, key `{about.key}`"
    yield f"- trained with torch {taken.result['torch']} ({taken.result['device']})"
    yield f"- exported by double-win-tickets {__version__} with torch {torch.__version__}"
