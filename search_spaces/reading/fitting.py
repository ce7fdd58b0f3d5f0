"""Does a study's search fit the study? Told before anything is started."""

from search_spaces import trials
from search_spaces.errors import InputError
from search_spaces.searches.section import Search
from search_spaces.searches.spaces import Point
from search_spaces.study import Study


def check(study: Study) -> None:
    """Raises InputError naming what of the search does not fit the study."""
    if study.search is None:
        return
    search = study.search
    _check_names(study, search)
    own: Point = {name: trials.own_value(study, search, name) for name in search.space}
    for name, domain in search.space.items():
        if not domain.holds(own[name]):
            raise InputError(
                f"search.space.{name}: does not hold the study's own value {own[name]}, "
                "which is the first point: widen it"
            )
        for value in domain.samples:
            trials.trial(study, {name: value})
    for place, point in enumerate(search.points):
        for name, value in point.items():
            if name not in search.space:
                raise InputError(f"search.points.{place}: {name} is not in the space: add it there")
            if not search.space[name].holds(value):
                raise InputError(
                    f"search.points.{place}.{name}: {value} is not in its domain: widen it"
                )
    for point in trials.first_points(study):
        trials.trial(study, point)


def _check_names(study: Study, search: Search) -> None:
    task = study.downstream[trials.task_place(study, search)]
    for field, name, known in (
        ("pretraining", search.pretraining, study.source.pretrainings),
        ("regime", search.regime, task.regimes),
        ("pruning", search.pruning, study.pruning),
    ):
        if name is not None and name not in known:
            names = ", ".join(known) or "none"
            raise InputError(f"search.{field}: {name} is not in the study: it has {names}")
    plan = study.pruning[search.pruning] if search.pruning else None
    if plan and search.level not in plan.made_levels:
        made = ", ".join(map(str, plan.made_levels))
        raise InputError(
            f"search.level: {search.level} is not made by {search.pruning}: it makes {made}"
        )
    if plan and not plan.starts_from(search.pretraining):
        raise InputError(
            f"search.pruning: {search.pruning} does not start from {search.pretraining}: "
            "name another pretraining"
        )
    if "ra" in search.objectives and task.regimes[search.regime].attack is None:
        raise InputError(
            f"search.objectives: ra needs an attack, and regime {search.regime} has none: "
            "search for sa there"
        )
    if trials.RATE in search.space and (plan is None or plan.method != "imp"):
        raise InputError(
            f"search.space.{trials.RATE}: needs a ticket of method imp: name pruning and level"
        )
