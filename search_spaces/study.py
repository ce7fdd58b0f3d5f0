"""A study: one YAML file that names thetas, prunings and downstream tasks."""

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from search_spaces.base import UNHASHED, Key, Name, Seed, Spec
from search_spaces.checks import Check
from search_spaces.keys import key
from search_spaces.levels import density
from search_spaces.networks import Model
from search_spaces.own import is_own
from search_spaces.prunings import Pruning
from search_spaces.regimes import Evaluation, Regime, RegimeName
from search_spaces.searches.adaptive import Adaptive, Levels
from search_spaces.searches.section import Search
from search_spaces.spec import Dataset, Pretraining
from search_spaces.tasks import instances

_STRIDE = 10**6
"""Between the pruning seeds of a study's source seeds."""


class PruningPlan(Pruning):
    """A pruning and the levels to make: `rounds` for imp, a list of `levels` for the others.

    `pretrainings` names the thetas that it starts from; default: all of them.
    """

    rounds: int | None = Field(
        None, ge=1, le=60, description="of imp: every level up to this is made"
    )
    levels: tuple[Annotated[int, Field(ge=1, le=60)], ...] | None = Field(
        None, min_length=1, description="of all others: the levels to make"
    )
    pretrainings: tuple[Name, ...] | None = Field(
        None, description="the thetas it starts from; default: all"
    )

    def starts_from(self, pretraining: str) -> bool:
        """Are tickets made from this theta?"""
        return self.pretrainings is None or pretraining in self.pretrainings

    @model_validator(mode="after")
    def _rounds_or_levels(self) -> Self:
        if self.method == "imp" and (self.rounds is None or self.levels is not None):
            raise ValueError("method imp takes rounds: N (it passes through every level up to N)")
        if self.method != "imp" and (self.levels is None or self.rounds is not None):
            raise ValueError(f"method {self.method} takes levels: [K, ...], not rounds")
        return self

    @model_validator(mode="after")
    def _levels_fit_the_pattern(self) -> Self:
        if beyond := [level for level in self.made_levels if not self.fits(level)]:
            kept = 100 * density(beyond[0], self.rate)
            raise ValueError(
                f"structure {self.structure}: level {beyond[0]} at rate {self.rate} keeps "
                f"{kept:.2f} %, more than the pattern holds: raise rate, or begin at a higher level"
            )
        return self

    def moved(self, count: int) -> Self:
        """The same plan for a further source seed: far on, beyond what the transfers' seeds add."""
        moved = (self.seed + count * _STRIDE) % 2**32
        return self.model_copy(update={"seed": moved}) if count else self

    @property
    def pruning(self) -> Pruning:
        """What enters a ticket's key: how many levels are made does not."""
        return Pruning(**{name: getattr(self, name) for name in Pruning.model_fields})

    def draws(self, seeds: Iterable[int]) -> "dict[int | None, PruningPlan]":
        """The plan behind the tickets that transfers of each of these seeds start from. A random
        choice is drawn anew for every one, by the sum of this plan's seed and theirs; what all
        share is under None."""
        if self.method != "random":
            return {None: self}
        drawn = {seed: (self.seed + seed) % 2**32 for seed in seeds}
        return {seed: self.model_copy(update={"seed": own}) for seed, own in drawn.items()}

    @property
    def made_levels(self) -> tuple[int, ...]:
        """The levels that this plan makes, ascending."""
        if self.rounds is not None:
            return tuple(range(1, self.rounds + 1))
        return tuple(sorted(set(self.levels or ())))


class Only(Spec):
    """Restricts a regime to part of its downstream's cells; what is not named is not restricted."""

    pretrainings: tuple[Name, ...] | None = Field(None, description="names of thetas; default: all")
    pruning: tuple[Name, ...] | None = Field(
        None, description="names of prunings (the dense network belongs to each); default: all"
    )
    levels: tuple[int, ...] | None = Field(None, description="levels; default: all")


class ChosenCheck(Spec):
    """A further check, and the transfers it is made on."""

    check: Check = Field(description="the evaluation")
    regimes: tuple[RegimeName, ...] = Field(
        ("adversarial",), description="the regimes whose transfers are checked"
    )
    only: Only = Field(Only(), description="the transfers that are checked")


class DownstreamRegime(Regime):
    """A regime and the cells of its downstream that it covers (all, unless `only` says less)."""

    only: Only = Field(
        Only(),
        description="the part of the downstream's transfers that is trained under it; default: all",
    )

    @property
    def regime(self) -> Regime:
        """What enters a transfer's key: which other cells are covered does not."""
        return Regime(**{name: getattr(self, name) for name in Regime.model_fields})


class Source(Spec):
    """The task that tickets are found on."""

    dataset: Dataset = Field(description="the task that tickets are found on")
    model: Model = Field(description="the network")
    pretrainings: dict[Name, Pretraining] = Field(
        min_length=1, description="thetas by the names that tables show"
    )
    evaluation: Evaluation | None = Field(None, description="default: the study's")
    seeds: tuple[Seed, ...] = Field(
        (0,),
        min_length=1,
        description="of all pre-trainings that are trained here, and of the tickets from them: "
        "several make a verdict one about the method; seed: N is short for seeds: [N]",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_seed_is_a_list_of_one(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "seed" not in given:
            return given
        if "seeds" in given:
            raise ValueError("seed and seeds are both there: drop one of them")
        rest = {name: value for name, value in given.items() if name != "seed"}
        return {**rest, "seeds": [given["seed"]]}

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds has a value twice: {list(self.seeds)}")
        return self

    def seeds_of(self, pretraining: str) -> tuple[int, ...]:
        """The seeds that a pre-training is made with: of loaded weights there is one set."""
        return self.seeds if self.pretrainings[pretraining].train else self.seeds[:1]


class Downstream(Spec):
    """A task that tickets are transferred to."""

    dataset: Dataset = Field(description="the task that tickets are transferred to")
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0,), description="shares of its training images, in (0, 1]; each is a task of its own"
    )
    subset: Literal["balanced", "first_n"] = Field(
        "balanced",
        description="which images a fraction has: balanced over classes and drawn by the seed, or"
        " the first ones",
    )
    levels: Levels = Field(
        description="levels to transfer, 0 being dense; or adaptive, or the settings of an "
        "adaptive "
        "search"
    )
    regimes: dict[RegimeName, DownstreamRegime] = Field(
        min_length=1,
        description="how tickets are trained; a verdict needs standard and adversarial",
    )
    seeds: tuple[Seed, ...] = Field(
        min_length=1,
        description="of every transfer; of an adaptive search, those that the dense network "
        "starts with",
    )
    margin: float = Field(
        0.01, gt=0, lt=1, description="loss in accuracy that counts as matching: non-inferiority"
    )
    evaluation: Evaluation | None = Field(None, description="default: the study's")
    checks: tuple[ChosenCheck, ...] = Field((), description="further evaluations of some transfers")

    @model_validator(mode="after")
    def _names_mean_what_they_say(self) -> Self:
        for name, regime in self.regimes.items():
            kind = regime.attack.kind if regime.attack else None
            allowed = {
                "standard": (None,),
                "fast_adversarial": ("fgsm", "n_fgsm"),
                "adversarial": ("pgd", "your own"),
            }[name]
            if ("your own" if kind and is_own(kind) else kind) not in allowed:
                wanted = " or ".join(k or "no attack" for k in allowed)
                raise ValueError(f"regime {name} takes {wanted}, not {kind or 'no attack'}")
        for field in ("levels", "seeds", "fractions"):
            values = getattr(self, field)
            if isinstance(values, tuple) and len(set(values)) != len(values):
                raise ValueError(f"{field} has a value twice: {list(values)}")
        return self

    @model_validator(mode="after")
    def _a_search_needs_both_regimes(self) -> Self:
        if isinstance(self.levels, Adaptive):
            if set(self.regimes) != {"standard", "adversarial"}:
                raise ValueError(
                    "levels: adaptive searches by the regimes standard and adversarial: put others "
                    "in a downstream entry of their own, with a label"
                )
            if any(regime.only.levels for regime in self.regimes.values()):
                raise ValueError("levels: adaptive chooses levels itself: leave only.levels out")
            if len(self.seeds) > self.levels.most_seeds:
                raise ValueError(f"seeds: more than most_seeds ({self.levels.most_seeds})")
            least = len(self.regimes) * (len(self.seeds) + 1)
            if self.levels.budget < least:
                raise ValueError(
                    f"levels.budget: {self.levels.budget} ends before a level is tried: with "
                    f"{len(self.seeds)} seeds of the dense network it takes {least}"
                )
        return self

    @property
    def adaptive(self) -> Adaptive | None:
        """How levels are searched for; None where they are given."""
        return self.levels if isinstance(self.levels, Adaptive) else None

    def has_level(self, level: int) -> bool:
        """Is a level transferred, or may a search try it?"""
        if isinstance(self.levels, Adaptive):
            return self.levels.tries(level)
        return level in self.levels

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of every transfer, or all that a search may use, in its order."""
        if not isinstance(self.levels, Adaptive):
            return self.seeds
        more = range(max(self.seeds) + 1, max(self.seeds) + 1 + self.levels.most_seeds)
        return (*self.seeds, *more)[: self.levels.most_seeds]


class Study(Spec):
    """One YAML file: source task, pre-trainings, pruning, downstream transfers, seeds."""

    name: Name = Field(description="the study's name in tables and in MLflow")
    source: Source = Field(description="the task that tickets are found on, and the pre-trainings")
    pruning: dict[Name, PruningPlan] = Field(
        default={},
        description="how tickets are found, by the names that tables show; default: dense "
        "networks alone",
    )
    downstream: tuple[Downstream, ...] = Field(
        min_length=1, description="the tasks that tickets are transferred to"
    )
    evaluation: Evaluation = Field(
        description="the attack that decides, for all tasks that have none of their own"
    )
    search: Search | None = Field(
        None,
        json_schema_extra=UNHASHED,
        description="what `search` looks for; a run does not need it",
    )
    looked_at: dict[Key, Annotated[str, Field(min_length=1)]] = Field(
        default={},
        json_schema_extra=UNHASHED,
        description="keys of transfers that evidence flags for masked gradients, each with why its "
        "robust accuracy is sound; without, the flag stands between its level and a verdict",
    )

    @property
    def version(self) -> str:
        """Six hexadecimal digits of its content's hash: what tells it from others of its name."""
        return key(self)[:6]

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that transfers of the study may have, each once, in its order."""
        return tuple(dict.fromkeys(seed for task in self.downstream for seed in task.all_seeds))

    def prunings(self, pretraining: str, source_seed: int) -> dict[str, PruningPlan]:
        """The prunings that start from a theta, by their names; none from a check's surrogate. Each
        source seed prunes by seeds of its own, or masks drawn at random would be the same for all.
        """
        if pretraining not in self.source.pretrainings:
            return {}
        count, named = source_seed - self.source.seeds[0], self.pruning.items()
        return {name: plan.moved(count) for name, plan in named if plan.starts_from(pretraining)}

    def plans(self, pretraining: str, source_seed: int) -> tuple[PruningPlan, ...]:
        """The plans behind the tickets of a theta: a random one for each of the seeds."""
        own = self.prunings(pretraining, source_seed).values()
        return tuple(drawn for plan in own for drawn in plan.draws(self.seeds).values())

    @model_validator(mode="after")
    def _names_and_levels_fit(self) -> Self:
        if "dense" in self.pruning:
            raise ValueError("pruning.dense: the name dense is kept for level 0")
        for name, plan in self.pruning.items():
            _check_known(
                f"pruning.{name}.pretrainings", plan.pretrainings, self.source.pretrainings
            )
            self._check_rewinding(f"pruning.{name}", plan)
        tasks = [(task.dataset.title, f) for task in self.downstream for f in task.fractions]
        if len(set(tasks)) != len(tasks):
            names = [task.dataset.title for task in self.downstream]
            raise ValueError(
                f"downstream: a dataset and fraction occur twice in {names}: give one a label"
            )
        if self.source.dataset.kind == "instances":
            raise ValueError(
                f"source.dataset: {self.source.dataset.title} is of instances: find tickets on a "
                "classification task, and transfer them to it"
            )
        made = {level for plan in self.pruning.values() for level in plan.made_levels} | {0}
        for place, task in enumerate(self.downstream):
            self._check_task(f"downstream.{place}", task, made)
        return self

    def _check_rewinding(self, place: str, plan: PruningPlan) -> None:
        epoch, pretrainings = plan.rewind_epoch, self.source.pretrainings
        for name in filter(plan.starts_from, pretrainings if epoch is not None else ()):
            pretraining = pretrainings[name]
            if pretraining.train is None:
                raise ValueError(
                    f"{place}.rewind: {name} is loaded, its earlier weights are not there: name "
                    "trained thetas under pretrainings, or rewind to theta"
                )
            if (epoch or 0) > (last := pretraining.train.recipe.epochs):
                raise ValueError(
                    f"{place}.rewind_epoch: {epoch} is beyond the {last} epochs of {name}: lower it"
                )

    def _check_task(self, place: str, task: Downstream, made: set[int]) -> None:
        judged = task.evaluation or self.evaluation
        try:
            instances.check(task.dataset, self.source.model, task.regimes, judged, task.checks)
        except ValueError as error:
            raise ValueError(f"{place}.{error}") from None
        if task.adaptive and len(self.source.seeds) > 1:
            raise ValueError(
                f"{place}.levels: a search follows one ticket, and source.seeds has "
                f"{len(self.source.seeds)}: give one seed, or a list of levels"
            )
        if task.adaptive and not any(task.has_level(level) for level in made - {0}):
            raise ValueError(f"{place}.levels.bounds: pruning makes no level within them")
        for level in task.levels if isinstance(task.levels, tuple) else ():
            if level not in made:
                raise ValueError(
                    f"{place}.levels: level {level} is beyond what pruning makes "
                    f"(up to {max(made)}): add rounds or drop the level"
                )
        chosen = {f"{place}.regimes.{name}": regime.only for name, regime in task.regimes.items()}
        chosen |= {f"{place}.checks.{i}": check.only for i, check in enumerate(task.checks)}
        for where, only in chosen.items():
            _check_known(f"{where}.only.pretrainings", only.pretrainings, self.source.pretrainings)
            _check_known(f"{where}.only.pruning", only.pruning, self.pruning)
            levels = [level for level in made if task.has_level(level)]
            _check_known(f"{where}.only.levels", only.levels, sorted(levels))


def _check_known(
    place: str, values: Iterable[str | int] | None, known: Collection[str | int]
) -> None:
    for value in values or ():
        if value not in known:
            raise ValueError(f"{place}: {value} is not one of {', '.join(map(str, known))}")
