"""Do captured steps do what eager ones do? Small trainings and evaluations of every kind.

Each is carried out three times: on its own tensors (off), on tensors that stay in place with steps
that are called again (calls), and as by default (auto: on CUDA, graphs). cuDNN is held to
deterministic kernels in float32, so all three may differ by rounding alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch.backends import cudnn

from trainables.bench.equivalence.cases import CASES, WAITING, Outcome, executed
from trainables.runtime.capture import GRAPH

WAYS = ("off", "calls", "auto")
# Shares of a norm, and of images. A rounding error that turns the sign of a pixel's gradient moves
# that pixel by two alphas: attacked trainings part faster than float32's own precision.
_WEIGHTS, _LOSS, _IMAGES = 2e-3, 1e-3, 0.02


@dataclass(frozen=True)
class Finding:
    """How far a case is, as executed by default, from the eager one (`off`) and from the same steps
    called again (`calls`): relatively in loss and in weights, and in the share of images that are
    classified otherwise. executions: how steps were executed by default."""

    name: str
    off: tuple[float, float, float]
    calls: tuple[float, float, float]
    executions: tuple[str, ...]

    def holds(self, device: torch.device) -> bool:
        """Is all as it should be?"""
        captured = device.type == "cuda" and self.name != WAITING
        within = all(
            measured <= limit
            for distance in (self.off, self.calls)
            for measured, limit in zip(distance, (_LOSS, _WEIGHTS, _IMAGES), strict=True)
        )
        return within and all((how == GRAPH) == captured for how in self.executions)


def run(device: torch.device, names: tuple[str, ...] = tuple(CASES)) -> Iterator[Finding]:
    """The cases named, one after another."""
    for name in names:
        outcomes = {}
        for way in WAYS:
            with _exactly(), executed(way):
                outcomes[way] = deepcopy(CASES[name](device))
        auto = outcomes["auto"]
        yield Finding(
            name,
            _distance(auto, outcomes["off"]),
            _distance(auto, outcomes["calls"]),
            tuple(dict.fromkeys(auto.executions)),
        )


def line(finding: Finding, device: torch.device) -> str:
    """A case in words."""
    says = "as it should be" if finding.holds(device) else "NOT as it should be"
    apart = "; ".join(
        f"from {way}: loss {loss:.1e}, weights {weights:.1e}, images {images:.1%}"
        for way, (loss, weights, images) in (
            ("eager", finding.off),
            ("called again", finding.calls),
        )
    )
    return f"{finding.name}: {says} ({apart}; {', '.join(finding.executions)})"


def conclusion(findings: Sequence[Finding], device: torch.device) -> str:
    """All cases in one line."""
    failing = [finding.name for finding in findings if not finding.holds(device)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    worst = max(finding.off[1] for finding in findings)
    again = max(finding.calls[1] for finding in findings)
    text = f"{len(findings) - len(failing)} of {len(findings)} cases as eager ones on {name}"
    text += f" (weights at most {worst:.1e} apart; from the same steps called again {again:.1e})"
    return text + (f"; not: {', '.join(failing)}" if failing else "")


def _distance(one: Outcome, other: Outcome) -> tuple[float, float, float]:
    losses = max(
        (abs(a - b) / abs(b) for a, b in zip(one.losses, other.losses, strict=True)), default=0.0
    )
    weights = max(
        (
            ((one.weights[n] - w).norm() / w.norm().clamp_min(1e-6)).item()
            for n, w in other.weights.items()
        ),
        default=0.0,
    )
    images = max(
        ((a != b).double().mean().item() for a, b in zip(one.right, other.right, strict=True)),
        default=0.0,
    )
    return losses, weights, images


@contextmanager
def _exactly() -> Iterator[None]:
    before = cudnn.deterministic, cudnn.allow_tf32
    cudnn.deterministic, cudnn.allow_tf32 = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.allow_tf32 = before
