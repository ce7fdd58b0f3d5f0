"""How masks are found: by which score, shared out how over layers, in which pattern."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from search_spaces.base import LATER, OwnOr, Seed, Sha256, Spec
from search_spaces.levels import density
from search_spaces.own import is_own
from search_spaces.regimes import Regime

Scope = Literal["global", "layer", "erk"]
METHODS = ("imp", "one_shot", "random", "snip", "grasp", "synflow", "hydra")
TRAINED = ("imp", "hydra")
Method = Annotated[str, OwnOr(METHODS, "criteria")]
UNSTRUCTURED, CHANNEL = "unstructured", "channel"
Rewind = Literal["theta", "late", "none", "learning_rate"]
SEE_IMAGES = ("snip", "grasp")


class Pruning(Spec):
    """How masks are found; see Ticket for what a mask is combined with. Every method gives each
    prunable weight a score, and keeps those that score highest.

    imp:      iterative magnitude pruning: each round prunes `rate` of the remaining weights by
              magnitude, rewinds the rest to theta, and re-trains on the source
    one_shot: by theta's own magnitudes, at once
    random:   by a draw
    snip:     by how much the loss changes with the weight, |w dL/dw| (Lee et al. 2019)
    grasp:    by how much the gradient's norm falls with the weight, w Hg (Wang et al. 2020)
    synflow:  by what flows through the weight, without data, in 100 rounds (Tanaka et al. 2020)
    hydra:    by a score that is trained on the source while weights stay as they are, at each level
              from theta (Sehwag et al. 2020)

    Or `package.module:criterion`, a function of the user's own: (network, data, rng) -> scores by
    parameter name; see docs/pruning.md.

    What the weights under a mask are, in rounds of imp and in transfers, is the rewinding:

    theta:         theta's (Chen et al. 2022)
    late:          those after epoch `rewind_epoch` of theta's pre-training (Frankle et al. 2020)
    none:          those that imp has pruned; its re-training goes on from there at the last
                   learning rate of its schedule: fine-tuning (Han et al. 2015)
    learning_rate: those that imp has pruned; its re-training goes on from there with its schedule
                   from the beginning (Renda et al. 2020)
    """

    method: Method = Field(
        description="imp: in rounds with re-training; one_shot: by magnitude, at once; random; "
        "snip, grasp, synflow: by theta's gradients; hydra: by trained scores; or "
        "package.module:criterion, your own"
    )
    sha256: Sha256 | None = Field(
        None,
        description="of the file that a criterion of your own stands in; default: found out by the "
        "run",
    )
    rate: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the remaining weights that a round prunes; level k keeps (1 - "
        "rate)^k",
    )
    scope: Scope = Field(
        "global",
        json_schema_extra=LATER,
        description="global: the highest scores of the whole network; layer: the same share of "
        "every layer; erk: of a layer the more, the fewer weights it has for its inputs and "
        "outputs (Evci et al. 2020)",
    )
    structure: str = Field(
        UNSTRUCTURED,
        json_schema_extra=LATER,
        description="unstructured; n:m, as 2:4: of every m consecutive inputs of an output, at "
        "most n are kept; or channel: whole channels are kept, at most as many weights as a level "
        "has",
    )
    rewind: Rewind = Field(
        "theta",
        json_schema_extra=LATER,
        description="which weights a ticket has under its mask: theta's; late, its pre-training's "
        "after rewind_epoch; of imp also none, those that it has pruned, re-trained at the last "
        "learning rate; learning_rate, the same re-trained with the whole schedule",
    )
    rewind_epoch: int | None = Field(
        None,
        ge=0,
        description="of rewind late: after which epoch of the pre-training; 0: its initialisation",
    )
    retraining: Regime | None = Field(
        None,
        description="how imp trains between rounds, and hydra its scores, on the source",
    )
    images: int | None = Field(
        None,
        ge=1,
        description="training images that snip, grasp and a criterion of your own see; default: "
        "ten of each class",
    )
    seed: Seed = Field(
        0,
        description="of re-training, of the images, or of the random choice: one for every seed of "
        "the transfers, by the sum of both; a million more for each source seed after the first",
    )

    @property
    def own(self) -> str | None:
        """The user's own code that it names, if it does."""
        return self.method if is_own(self.method) else None

    @property
    def pattern(self) -> tuple[int, int] | None:
        """(n, m), where at most n of m are kept; None where any may be."""
        if self.structure in (UNSTRUCTURED, CHANNEL):
            return None
        n, m = map(int, self.structure.split(":"))
        return n, m

    @property
    def goes_on(self) -> bool:
        """Do imp's rounds go on from the weights that they have pruned?"""
        return self.rewind in ("none", "learning_rate")

    def fits(self, level: int) -> bool:
        """Can so many weights as a level keeps lie in the pattern?"""
        return self.pattern is None or density(level, self.rate) <= self._most * (1 + 1e-9)

    @property
    def _most(self) -> float:
        n, m = self.pattern or (1, 1)
        return n / m

    @model_validator(mode="after")
    def _fields_are_for_methods(self) -> Self:
        if (self.method in TRAINED) != (self.retraining is not None):
            raise ValueError("retraining is needed for methods imp and hydra, and only there")
        if self.method == "hydra" and self.structure != UNSTRUCTURED:
            raise ValueError("hydra learns no structure: leave structure out")
        if self.structure == CHANNEL and self.scope == "erk":
            raise ValueError("scope erk shares out weights, not channels: choose global or layer")
        if self.sha256 and not is_own(self.method):
            raise ValueError(
                f"sha256 is for a criterion of your own: leave it out of {self.method}"
            )
        if self.images and not (is_own(self.method) or self.method in SEE_IMAGES):
            raise ValueError(f"method {self.method} sees no images: leave images out")
        return self

    @model_validator(mode="after")
    def _rewinds_to_what_there_is(self) -> Self:
        if (self.rewind == "late") != (self.rewind_epoch is not None):
            raise ValueError("rewind_epoch is needed for rewind late, and only there")
        if self.goes_on and self.method != "imp":
            raise ValueError(
                f"rewind {self.rewind} goes on from re-trained weights, which {self.method} has "
                "not: leave rewind out, or write late"
            )
        kind = self.retraining.recipe.schedule.kind if self.retraining else None
        if self.rewind == "none" and kind in ("cosine", "one_cycle"):
            raise ValueError(
                f"rewind none re-trains at the schedule's last learning rate, of {kind} 0: choose "
                "constant, multistep or rewind: learning_rate"
            )
        return self

    @field_validator("structure")
    @classmethod
    def _pattern_prunes(cls, value: str) -> str:
        n, colon, m = value.partition(":")
        fits = colon and n.isdecimal() and m.isdecimal() and 0 < int(n) < int(m) <= 64
        if value not in (UNSTRUCTURED, CHANNEL) and not fits:
            raise ValueError(
                "write unstructured, channel, or n:m with n below m and m at most 64, as 2:4"
            )
        return value
