"""How one training runs and is judged: attacks, recipes, containment, regimes, evaluation.

Images have pixels in [0, 1]; epsilons and step sizes are in those units and may be written as
fractions ("8/255"). May use: base.
"""

from search_spaces.regimes.attacks import Attack
from search_spaces.regimes.containment import Containment
from search_spaces.regimes.evaluation import Evaluation, Protocol
from search_spaces.regimes.recipes import Constant, Cosine, MultiStep, OneCycle, Recipe, Schedule
from search_spaces.regimes.regime import Regime, RegimeName

__all__ = [
    "Attack",
    "Constant",
    "Containment",
    "Cosine",
    "Evaluation",
    "MultiStep",
    "OneCycle",
    "Protocol",
    "Recipe",
    "Regime",
    "RegimeName",
    "Schedule",
]
