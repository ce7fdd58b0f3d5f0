"""What a training minimises: a mean over the images of a batch, and the attack that it asks for.

Logits are (N, classes), labels (N,); losses have no dimensions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.regimes import Loss
from trainables.runtime.precision import full_precision
from trainables.training.attacks import Climbed


def trades(clean: Tensor, attacked: Tensor, y: Tensor, beta: float) -> Tensor:
    """CE(clean, y) + beta KL(p(clean) || p(attacked)) (Zhang et al. 2019, equation 5)."""
    return F.cross_entropy(clean, y) + beta * divergence(clean, attacked).mean()


def mart(clean: Tensor, attacked: Tensor, y: Tensor, beta: float) -> Tensor:
    """BCE(attacked, y) + beta KL(p(clean) || p(attacked)) (1 - p_y(clean)), the boosted
    cross-entropy being -log p_y - log(1 - max over others of p_k) (Wang et al. 2020, equation 12).
    """
    p = attacked.softmax(1)
    rival = p.scatter(1, y[:, None], 0.0).amax(1)
    # 1e-4 as in the authors' code: a sure and wrong network has a loss that is finite.
    boosted = F.cross_entropy(attacked, y) - torch.log(1.0001 - rival).mean()
    unsure = 1.0 - clean.softmax(1).gather(1, y[:, None]).squeeze(1)
    return boosted + beta * (divergence(clean, attacked) * unsure).mean()


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """(N,): the Kullback-Leibler divergence KL(p(clean) || p(attacked)) of each image."""
    expected = clean.log_softmax(1)
    return (expected.exp() * (expected - attacked.log_softmax(1))).sum(1)


def batch_loss(
    model: nn.Module, x: Tensor, attacked: Tensor, y: Tensor, loss: Loss
) -> tuple[Tensor, Tensor]:
    """(loss, logits of the attacked images): a pass over them, and one over the images x for a loss
    that compares both. BatchNorm sees them one after the other."""
    if loss.kind == "cross_entropy":
        logits = full_precision(model(attacked))
        return F.cross_entropy(logits, y, label_smoothing=loss.smoothing), logits
    clean, logits = full_precision(model(x)), full_precision(model(attacked))
    of = trades if loss.kind == "trades" else mart
    return of(clean, logits, y, loss.beta), logits


def climbed(model: nn.Module, x: Tensor, loss: Loss) -> Climbed | None:
    """What the attack of a training climbs; None: the cross-entropy. TRADES': how far predictions
    move from those of the images x, in the BatchNorm mode that the model is in."""
    if loss.kind != "trades":
        return None
    with torch.no_grad():
        clean = full_precision(model(x))
    return lambda logits: divergence(clean, logits).sum()
