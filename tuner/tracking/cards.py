"""Model cards: what a winning ticket is, why it wins, where it comes from, how to load it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.grid import TicketCell

Row = Mapping[Any, Any]
ALIAS = "double-win"
_SCORES = {
    "SA_standard": "accuracy (SA), standard training",
    "SA_adversarial": "accuracy (SA), adversarial training",
    "RA_adversarial": "robust accuracy (RA), adversarial training",
}


@dataclass(frozen=True)
class Winner:
    """The extreme double-win ticket of a theta, pruning and task, and what makes it one.

    model: its name in the registry; won, shown: its rows of the verdict by one standard deviation
    and by non-inferiority; acknowledged: flagged transfers behind the verdict, each with why its
    scores are held to be sound.
    """

    model: str
    study: str
    cell: TicketCell
    task: str
    won: Row
    shown: Row
    acknowledged: Mapping[str, str]


@dataclass(frozen=True)
class Files:
    """What of a ticket is on disk: `result`, its own; weights: where theta's are, if they are too
    large to lie beside the mask; weights_sha256: their checksum."""

    result: Mapping[str, Any]
    weights: str | None
    weights_sha256: str


def card(winner: Winner, files: Files, links: Mapping[str, str]) -> str:
    """The card, in Markdown; `links`: what is linked -> address."""
    won, result = winner.won, files.result
    linked = "\n".join(f"- [{what}]({address})" for what, address in links.items())
    return f"""\
The sparsest ticket of θ **{winner.cell.pretraining}** (pruning `{winner.cell.pruning}`) that \
transfers to **{winner.task}** as well as the dense network, in all three scores: the extreme \
double win of study **{winner.study}**.

**Sparsity {100 * won["sparsity"]:.2f} %** (level {won["level"]}; exactly \
{100 * result["sparsity"]:.6f} %): {result["kept"]:,} of {result["total"]:,} prunable weights are \
kept. The head and normalisation layers are never pruned.

| test score, mean ± std in % | this ticket ({won["n"]} seeds) | dense ({won["dense_n"]} seeds) |
|---|---|---|
{_scores(won)}

- **One-std rule** (the paper's): each mean is within one dense std of the dense mean. Lower \
levels: {won["lower_levels"]}.{_noted(won)}
{_by_evidence(winner)}
{_flags(winner.acknowledged)}

| stage | layers | sparsity of its layers |
|---|---|---|
{_stages(result["layers"])}

Load the mask over theta (`pip install mlflow safetensors torch`):

```python
{snippet(winner.model, files)}
```

sha256 of theta's weights: `{files.weights_sha256}`

{linked}"""


def snippet(model: str, files: Files) -> str:
    """Python that makes the ticket's state dict, `ticket`."""
    theta = '"' + files.weights + '"' if files.weights else 'folder + "/theta.safetensors"'
    return f"""\
from mlflow.artifacts import download_artifacts
from safetensors.torch import load_file

folder = download_artifacts("models:/{model}@{ALIAS}").rstrip("/")
theta, mask = load_file({theta}), load_file(folder + "/mask.safetensors")
ticket = {{name: w * mask[name] if name in mask else w for name, w in theta.items()}}"""


def _scores(won: Row) -> str:
    def score(name: str) -> str:
        std = won[f"{name}_std"]
        spread = "" if std != std else f" ± {100 * std:.1f}"
        return f"{100 * won[f'{name}_mean']:.1f}{spread}"

    return "\n".join(
        f"| {what} | {score(name)} | {score(f'{name}_dense')} |" for name, what in _SCORES.items()
    )


def _noted(won: Row) -> str:
    return f" Note: {won['note']}." if won["note"] else ""


def _by_evidence(winner: Winner) -> str:
    from analysis.report.report import by_evidence

    said = by_evidence(winner.shown).partition(": ")[2]
    other = ""
    if winner.shown["status"] == "confirmed" and winner.shown["level"] != winner.won["level"]:
        other = f" **It confirms another level: {100 * winner.shown['sparsity']:.2f} %.**"
    return f"- **Non-inferiority**, by evidence: {said}{other}"


def _flags(acknowledged: Mapping[str, str]) -> str:
    if not acknowledged:
        return "- **Signs of masked gradients**: none found, as far as evidence was gathered."
    said = "; ".join(f"`{name}`: {why}" for name, why in acknowledged.items())
    return f"- **Signs of masked gradients**, looked at and held to be sound: {said}"


def _stages(layers: Mapping[str, float]) -> str:
    stages: dict[str, list[float]] = {}
    for name, sparsity in layers.items():
        stages.setdefault(name.split(".")[0], []).append(100 * sparsity)
    return "\n".join(
        f"| {stage} | {len(found)} | {_span(min(found), max(found))} |"
        for stage, found in stages.items()
    )


def _span(low: float, high: float) -> str:
    return f"{low:.1f} %" if low == high else f"{low:.1f} to {high:.1f} %"
