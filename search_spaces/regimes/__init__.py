"""How one training runs and is judged: attacks, objectives, recipes, containment,
regimes, evaluation.

Images have pixels in [0, 1]; epsilons and step sizes are in those units and may be written as
fractions ("8/255"). May use: base, own.
"""

from search_spaces.regimes.attacks import (
    ATTACKS,
    WITHIN_THE_PIXELS,
    Attack,
    Norm,
    Radius,
    ball,
    within_the_pixels,
)
from search_spaces.regimes.containment import Containment
from search_spaces.regimes.evaluation import Confirmation, Evaluation, Protocol
from search_spaces.regimes.objectives import Awp, CrossEntropy, Loss, Mart, Trades
from search_spaces.regimes.recipes import (
    Averaging,
    Constant,
    Cosine,
    Ema,
    MultiStep,
    OneCycle,
    Recipe,
    Schedule,
    Swa,
)
from search_spaces.regimes.regime import Regime, RegimeName

__all__ = [
    "ATTACKS",
    "WITHIN_THE_PIXELS",
    "Attack",
    "Averaging",
    "Awp",
    "Confirmation",
    "Constant",
    "Containment",
    "Cosine",
    "CrossEntropy",
    "Ema",
    "Evaluation",
    "Loss",
    "Mart",
    "MultiStep",
    "Norm",
    "OneCycle",
    "Protocol",
    "Radius",
    "Recipe",
    "Regime",
    "RegimeName",
    "Schedule",
    "Swa",
    "Trades",
    "ball",
    "within_the_pixels",
]
