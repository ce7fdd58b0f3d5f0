"""The attacks of other libraries, for the bench: pip install '.[peers]'."""

import warnings
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.regimes import Attack
from trainables.bench.ours import CLASSES


class Attacker(Protocol):
    """A peer's attack."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, attack: Attack) -> Tensor: ...


def torchattacks(model: nn.Module, x: Tensor, y: Tensor, attack: Attack) -> Tensor:
    """torchattacks' PGD, in the mode that the model is in (its own default is eval)."""
    from torchattacks import PGD

    pgd = PGD(model, attack.epsilon, attack.alpha, attack.steps)
    pgd.set_model_training_mode(model.training, model.training, model.training)
    return pgd(x, y)


def foolbox(model: nn.Module, x: Tensor, y: Tensor, attack: Attack) -> Tensor:
    """foolbox's PGD; it leaves the mode as it is, with a warning."""
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfPGD

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = PyTorchModel(model, bounds=(0, 1), device=x.device)
        pgd = LinfPGD(abs_stepsize=attack.alpha, steps=attack.steps)
        return pgd(seen, x, y, epsilons=attack.epsilon)[1]


def art(model: nn.Module, x: Tensor, y: Tensor, attack: Attack) -> Tensor:
    """ART's PGD, which sets eval mode, and takes and gives numpy arrays."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    device = "gpu" if x.device.type == "cuda" else "cpu"
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), x.shape[1:], CLASSES, device_type=device,
        clip_values=(0.0, 1.0),
    )  # fmt: skip
    pgd = ProjectedGradientDescentPyTorch(
        classifier, eps=attack.epsilon, eps_step=attack.alpha, max_iter=attack.steps,
        num_random_init=1, batch_size=len(y), verbose=False,
    )  # fmt: skip
    adversarial = pgd.generate(x.cpu().numpy(), F.one_hot(y, CLASSES).cpu().numpy())
    return torch.from_numpy(np.asarray(adversarial, np.float32)).to(x.device)


LIBRARIES: dict[str, Attacker] = {"torchattacks": torchattacks, "foolbox": foolbox, "art": art}


def installed() -> list[str]:
    """The attack libraries that can be imported here."""
    return [name for name in LIBRARIES if find_spec(name)]
