"""From a study to its cells, counted by hand."""

from collections import Counter
from copy import deepcopy
from itertools import product

import pytest

from search_spaces import grid
from search_spaces.reading import studies
from search_spaces.study import Study

RECIPE = {"epochs": 1, "lr": 0.1}
PGD = {"kind": "pgd", "epsilon": 0.1, "alpha": 0.05, "steps": 3}
FGSM = {"kind": "fgsm", "epsilon": 0.1, "alpha": 0.125}
STUDY = {
    "name": "small",
    "source": {
        "dataset": {"name": "mnist-mini", "size": 16},
        "model": {"arch": "resnet8"},
        "pretrainings": {
            "standard": {"train": {"recipe": RECIPE}},
            "adversarial": {"train": {"recipe": RECIPE, "attack": PGD}},
        },
    },
    "pruning": {
        "imp": {"method": "imp", "rounds": 4, "retraining": {"recipe": RECIPE}},
        "random": {"method": "random", "levels": [4, 2], "pretrainings": ["adversarial"]},
    },
    "downstream": [
        {
            "dataset": {"name": "digits", "size": 16},
            "levels": [0, 2, 4],
            "regimes": {
                "standard": {"recipe": RECIPE},
                "adversarial": {"recipe": RECIPE, "attack": PGD},
            },
            "seeds": [0, 1, 2],
        }
    ],
    "evaluation": {"attack": PGD},
}


def study(**changes):
    return Study.model_validate({**deepcopy(STUDY), **changes})


def with_task(**changes):
    return study(downstream=[STUDY["downstream"][0] | changes])


def restricted(**only):
    """The small study plus a third regime that covers part of the cells."""
    fast = {"recipe": RECIPE, "attack": FGSM, "only": only}
    regimes = STUDY["downstream"][0]["regimes"] | {"fast_adversarial": fast}
    return with_task(regimes=regimes)


def cells(of, regime=None):
    """(theta, pruning, level) -> number of transfers."""
    return Counter(
        (cell.ticket_cell.pretraining, cell.ticket_cell.pruning, cell.ticket_cell.level)
        for cell in grid.transfers(of)
        if regime in (None, cell.regime)
    )


def test_thetas():
    found = grid.thetas(study())
    assert [cell.pretraining for cell in found] == ["standard", "adversarial"]
    assert found[0].theta.pretraining.train.attack is None
    assert found[1].theta.pretraining.train.attack.kind == "pgd"


def test_tickets_by_theta_then_pruning_then_level():
    found = [(c.pretraining, c.pruning, c.level) for c in grid.tickets(study())]
    assert found == [
        *(("standard", "imp", level) for level in (1, 2, 3, 4)),
        *(("adversarial", "imp", level) for level in (1, 2, 3, 4)),
        *(("adversarial", "random", level) for level in (2, 4) for _ in range(3)),
    ]


def test_a_random_mask_is_drawn_for_every_seed_of_the_transfers():
    """From the sum of both seeds: seed 0 of transfers has the pruning's own."""
    plan = STUDY["pruning"]["random"] | {"seed": 5}
    of = study(pruning=STUDY["pruning"] | {"random": plan})
    drawn = [c for c in grid.tickets(of) if c.pruning == "random"]
    assert [(c.level, c.replicate, c.ticket.pruning.seed) for c in drawn] == [
        (level, seed, 5 + seed) for level in (2, 4) for seed in (0, 1, 2)
    ]
    assert drawn[0].ticket.pruning == of.pruning["random"].pruning
    for cell in grid.transfers(of):
        own = cell.ticket_cell
        assert own.replicate == (cell.transfer.seed if own.pruning == "random" else None)
        assert own.pruning != "random" or own.ticket.pruning.seed == 5 + cell.transfer.seed


def test_an_adaptive_search_draws_a_mask_for_every_seed_it_may_use():
    task = STUDY["downstream"][0] | {"levels": {"budget": 40, "most_seeds": 5}}
    of = study(downstream=[task])
    assert [c.replicate for c in grid.tickets(of) if c.place == ("adversarial", "random", 4)] == [
        0, 1, 2, 3, 4
    ]  # fmt: skip


def test_transfers_are_counted_by_hand():
    # Cells: standard dense, imp 2, imp 4; adversarial dense, imp 2, imp 4, random 2, random 4.
    # Each under two regimes and three seeds.
    each = 2 * 3
    assert cells(study()) == {
        ("standard", "dense", 0): each,
        ("standard", "imp", 2): each,
        ("standard", "imp", 4): each,
        ("adversarial", "dense", 0): each,
        ("adversarial", "imp", 2): each,
        ("adversarial", "imp", 4): each,
        ("adversarial", "random", 2): each,
        ("adversarial", "random", 4): each,
    }
    assert len(grid.transfers(study())) == 48


def test_every_transfer_stands_once():
    keys = [cell.key for cell in grid.transfers(study())]
    assert len(set(keys)) == len(keys)


def test_without_pruning_there_are_dense_networks_alone():
    dense = study(pruning={}, downstream=[STUDY["downstream"][0] | {"levels": [0]}])
    assert grid.tickets(dense) == []
    assert set(cells(dense)) == {("standard", "dense", 0), ("adversarial", "dense", 0)}


def test_fractions_multiply():
    found = grid.transfers(with_task(fractions=[1.0, 0.1]))
    assert Counter(cell.transfer.fraction for cell in found) == {1.0: 48, 0.1: 48}


def test_only_pretrainings():
    fast = cells(restricted(pretrainings=["standard"]), "fast_adversarial")
    assert set(fast) == {("standard", "dense", 0), ("standard", "imp", 2), ("standard", "imp", 4)}


def test_only_levels():
    fast = cells(restricted(levels=[4]), "fast_adversarial")
    assert set(fast) == {
        ("standard", "imp", 4),
        ("adversarial", "imp", 4),
        ("adversarial", "random", 4),
    }


def test_only_pruning_keeps_the_dense_network():
    fast = cells(restricted(pruning=["random"]), "fast_adversarial")
    assert set(fast) == {
        ("standard", "dense", 0),
        ("adversarial", "dense", 0),
        ("adversarial", "random", 2),
        ("adversarial", "random", 4),
    }


def test_only_restricts_its_own_regime_alone():
    for only in ({}, {"levels": [4]}, {"pretrainings": ["standard"]}):
        assert cells(restricted(**only), "standard") == cells(study(), "standard")


def pairs(of):
    return {(tuple(cell.labels.values()), cell.key) for cell in grid.transfers(of)}


@pytest.mark.parametrize(
    ("more", "new"),
    [
        ({"seeds": [0, 1, 2, 3]}, 8 * 2),
        ({"levels": [0, 2, 3, 4]}, 2 * 2 * 3),  # imp of two thetas; random has no level 3
        ({"fractions": [1.0, 0.5]}, 48),
    ],
)
def test_what_is_added_leaves_earlier_transfers_in_place(more, new):
    before, after = pairs(study()), pairs(with_task(**more))
    assert before < after
    assert len(after - before) == new


def test_more_rounds_leave_earlier_tickets_in_place():
    before = {cell.key for cell in grid.tickets(study())}
    imp = STUDY["pruning"]["imp"] | {"rounds": 5}
    after = {cell.key for cell in grid.tickets(study(pruning=STUDY["pruning"] | {"imp": imp}))}
    assert before < after
    assert len(after - before) == 2


def test_labels():
    cell = grid.transfers(with_task(fractions=[0.1]))[-1]
    assert cell.labels == {
        "theta": "adversarial",
        "pruning": "random",
        "level": 4,
        "sparsity": pytest.approx(0.5904),
        "dataset": "digits",
        "fraction": 0.1,
        "regime": "adversarial",
        "source_seed": 0,
        "seed": 2,
    }


def test_labels_tell_transfers_apart():
    found = grid.transfers(restricted())
    assert len({tuple(cell.labels.values()) for cell in found}) == len(found)


def test_sparsity_follows_the_plans_rate():
    halving = {"half": {"method": "random", "rate": 0.5, "levels": [2, 4]}}
    found = {(c.pretraining, c.sparsity) for c in grid.tickets(study(pruning=halving))}
    assert found == {(theta, s) for theta in ("standard", "adversarial") for s in (0.75, 0.9375)}


def test_the_nearest_evaluation_counts():
    own = {"attack": {**PGD, "steps": 50}}
    source = {**STUDY["source"], "evaluation": {"attack": {**PGD, "steps": 5}}}
    of = study(source=source, downstream=[STUDY["downstream"][0] | {"evaluation": own}])
    cell = grid.transfers(of)[0]
    assert cell.transfer.evaluation.attack.steps == 50
    assert cell.transfer.ticket.theta.evaluation.attack.steps == 5
    assert grid.transfers(study())[0].transfer.evaluation.attack.steps == 3


AUTO = {"kind": "autoattack", "epsilon": 0.1}


def checked(*checks):
    """The small study, with further checks."""
    return with_task(checks=list(checks))


def where(of, count=1):
    """(theta, pruning, level, regime) of the transfers that have this many checks."""
    return {
        (*(cell.labels[name] for name in ("theta", "pruning", "level")), cell.regime)
        for cell in grid.transfers(of)
        if len(cell.transfer.checks or ()) == count
    }


def test_checks_land_on_adversarial_transfers_by_default():
    of = checked({"check": AUTO})
    assert where(of) == {(*cell, "adversarial") for cell in cells(study())}
    assert Counter(cell.regime for cell in grid.transfers(of) if cell.transfer.checks) == {
        "adversarial": 24
    }


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (
            {"regimes": ["standard"], "only": {"levels": [4], "pretrainings": ["standard"]}},
            {("standard", "imp", 4, "standard")},
        ),
        (
            {"regimes": ["standard", "adversarial"], "only": {"levels": [0]}},
            {
                (theta, "dense", 0, regime)
                for theta in ("standard", "adversarial")
                for regime in ("standard", "adversarial")
            },
        ),
        (
            {"only": {"pruning": ["random"], "pretrainings": ["adversarial"]}},
            {
                ("adversarial", "dense", 0, "adversarial"),
                ("adversarial", "random", 2, "adversarial"),
                ("adversarial", "random", 4, "adversarial"),
            },
        ),
    ],
)
def test_checks_land_on_the_chosen_transfers_alone(chosen, expected):
    of = checked({"check": AUTO, **chosen})
    assert where(of) == expected


def test_checks_stand_in_the_studys_order():
    first, second = {"check": AUTO}, {"check": {**AUTO, "images": 8}, "only": {"levels": [4]}}
    found = {cell.transfer.checks for cell in grid.transfers(checked(first, second))}
    assert {tuple(c.images for c in checks) for checks in found if checks} == {(None,), (None, 8)}


def test_a_check_changes_the_keys_of_its_own_transfers_alone():
    before, after = pairs(study()), pairs(checked({"check": AUTO, "only": {"levels": [4]}}))
    changed = {labels for labels, _ in before - after}
    assert changed == {labels for labels, _ in after - before}
    # imp of two thetas and random of one, at level 4, adversarial, three seeds
    assert len(changed) == 3 * 3
    assert {(labels[2], labels[6]) for labels in changed} == {(4, "adversarial")}


def test_no_checks_are_no_change():
    assert pairs(checked()) == pairs(study())


@pytest.mark.parametrize("name", ["paper", "paper-as-code"])
def test_the_papers_figure_3_is_1080_transfers(name):
    found = [
        cell.labels
        for cell in grid.transfers(studies.load(name))
        if cell.labels["pruning"] in ("dense", "imp") and cell.labels["fraction"] == 1
    ]
    assert len(found) == 1080  # 3 thetas x 20 levels x 3 datasets x 2 regimes x 3 seeds
    for label, count in (("theta", 3), ("level", 20), ("dataset", 3), ("regime", 2), ("seed", 3)):
        assert set(Counter(labels[label] for labels in found).values()) == {1080 // count}


@pytest.mark.parametrize("name", ["paper", "paper-as-code"])
def test_the_papers_figures_4_and_5_have_every_panel(name):
    found = [cell.labels for cell in grid.transfers(studies.load(name))]
    tasks = {"cifar10", "cifar100", "svhn"}
    fig4 = {
        (row["pruning"], row["dataset"], row["regime"])
        for row in found
        if row["theta"] == "adversarial" and row["fraction"] == 1
    }
    prunings = {"dense", "imp", "imp-adversarial", "one-shot", "random"}
    assert fig4 == set(product(prunings, tasks, ("standard", "adversarial")))
    few = [row for row in found if row["fraction"] < 1]
    fig5 = {(row["theta"], row["dataset"], row["fraction"], row["level"]) for row in few}
    thetas = {"standard", "fast_adversarial", "adversarial"}
    assert fig5 == set(product(thetas, tasks, (0.1, 0.01), range(20)))
    assert {(row["pruning"], row["regime"]) for row in few} == {
        ("dense", "adversarial"),
        ("imp", "adversarial"),
    }


def test_further_tasks_take_over_the_papers_tickets():
    further, paper = (grid.expand(studies.load(name)) for name in ("paper-a10", "paper"))
    assert further.sources.keys() < paper.sources.keys()
    assert {cell.transfer.dataset.name for cell in further.transfers.values()} == {
        "cub200",
        "visda17",
        "voc",
    }


# Levels that a search chooses


def searched(**changes):
    return with_task(**({"levels": {"bounds": [2, 4], "most_seeds": 5}} | changes))


def test_a_searched_task_lists_all_that_it_may_train():
    each = 2 * 5  # regimes x most seeds
    assert cells(searched()) == {
        ("standard", "dense", 0): each,
        **{("standard", "imp", level): each for level in (2, 3, 4)},
        ("adversarial", "dense", 0): each,
        **{("adversarial", "imp", level): each for level in (2, 3, 4)},
        ("adversarial", "random", 2): each,
        ("adversarial", "random", 4): each,
    }
    assert {cell.labels["seed"] for cell in grid.transfers(searched())} == set(range(5))


def test_only_searched_transfers_are_optional():
    listed = {**STUDY["downstream"][0], "fractions": [0.1]}
    both = study(downstream=[{**STUDY["downstream"][0], "levels": "adaptive"}, listed])
    found = Counter((cell.transfer.fraction, cell.optional) for cell in grid.transfers(both))
    assert set(found) == {(1.0, True), (0.1, False)} and found[0.1, False] == 48


def test_how_levels_are_chosen_does_not_enter_a_key():
    """What a grid has trained is there for a search, and the other way round."""
    listed, chosen = pairs(study()), pairs(searched(levels="adaptive"))
    assert listed < chosen
    assert pairs(searched(margin=0.05)) == pairs(searched())


def test_ladders():
    def of(theta, pruning, **changes):
        return grid.ladder(searched(**changes), theta, pruning, "digits", 1.0)

    assert of("standard", "imp") == (2, 3, 4)
    assert of("standard", "imp", levels="adaptive") == (1, 2, 3, 4)
    assert of("adversarial", "random", levels="adaptive") == (2, 4)
    assert of("standard", "random") is None  # its theta has no such tickets
    assert grid.ladder(study(), "standard", "imp", "digits", 1.0) is None


def test_margins_are_their_tasks():
    tasks = [
        {**STUDY["downstream"][0], "margin": 0.02},
        {**STUDY["downstream"][0], "fractions": [0.1, 0.5], "margin": 0.03},
    ]
    of = study(downstream=tasks)
    assert grid.margin(of, "digits", 1.0) == 0.02
    assert grid.margin(of, "digits", 0.5) == 0.03
    assert grid.margin(study(), "digits", 1.0) == 0.01


def with_source(**changes):
    return study(source=STUDY["source"] | changes)


def test_each_source_seed_has_thetas_and_tickets_and_transfers_of_its_own():
    found = grid.expand(with_source(seeds=[0, 5]))
    names = ["standard", "standard@5", "adversarial", "adversarial@5"]
    assert [cell.name for cell in found.thetas.values()] == names
    assert [len(part) for part in (found.tickets, found.transfers)] == [28, 96]
    assert Counter(cell.labels["source_seed"] for cell in found.transfers.values()) == {
        0: 48,
        5: 48,
    }
    labels = {tuple(cell.labels.values()) for cell in found.transfers.values()}
    assert len(labels) == len(found.transfers)


def test_a_further_source_seed_leaves_the_keys_of_the_others_as_they_were():
    for first in (0, 3):
        one, two = (grid.expand(with_source(seeds=s)).keys for s in ([first], [first, 7]))
        assert one < two
        assert len(two) == 2 * len(one)


def test_a_further_source_seed_prunes_by_a_seed_of_its_own():
    found = grid.tickets(with_source(seeds=[3, 7]))
    imp, drawn = (
        {(c.ticket.theta.seed, c.ticket.pruning.seed) for c in found if c.pruning == name}
        for name in ("imp", "random")
    )
    assert imp == {(3, 0), (7, 4_000_000)}
    assert drawn == {(3, 0), (3, 1), (3, 2), *((7, 4_000_000 + seed) for seed in (0, 1, 2))}


def test_loaded_weights_have_one_source_seed():
    loaded = {"load": {"format": "state_dict", "path": "weights.pt"}}
    pretrainings = STUDY["source"]["pretrainings"] | {"standard": loaded}
    found = grid.thetas(with_source(pretrainings=pretrainings, seeds=[2, 3]))
    assert [cell.name for cell in found] == ["standard", "adversarial", "adversarial@3"]


def test_one_source_seed_may_be_written_alone():
    assert with_source(seed=3) == with_source(seeds=[3])
    assert with_source() == with_source(seeds=[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 3, "seeds": [0]}, "drop one of them"),
        ({"seeds": [1, 1]}, "has a value twice"),
        ({"seeds": []}, "at least 1 item"),
        ({"seed": -1}, "source.seeds.0"),
    ],
)
def test_source_seeds_are_checked(changes, words):
    with pytest.raises(ValueError, match=words):
        with_source(**changes)


def test_a_search_of_levels_takes_one_source_seed():
    task = STUDY["downstream"][0] | {"levels": "adaptive"}
    source = STUDY["source"] | {"seeds": [0, 1]}
    with pytest.raises(ValueError, match=r"source\.seeds has 2: give one seed"):
        study(source=source, downstream=[task])


def test_behind_a_transfer_is_its_ticket_or_its_theta():
    whole = grid.expand(with_source(seeds=[0, 5]))
    for name, cell in whole.transfers.items():
        ticket = cell.transfer.ticket
        (behind,) = whole.behind[name]
        assert whole.sources[behind] == (ticket if ticket.level else ticket.theta)


def test_a_trained_surrogate_is_a_theta_behind_the_transfers_that_it_checks():
    surrogate = {
        "kind": "transfer_attack",
        "attack": PGD,
        "model": {"arch": "resnet8", "width": 2},
        "train": {"recipe": RECIPE},
    }
    of = checked({"check": surrogate, "only": {"pruning": ["imp"]}})
    whole, before = grid.expand(of), grid.expand(study())
    (name,) = whole.thetas.keys() - before.thetas.keys()
    theta = whole.thetas[name].theta
    assert theta.dataset == of.downstream[0].dataset
    assert (theta.model.width, theta.seed) == (2, 0)
    assert whole.tickets == before.tickets
    assert of.plans(whole.thetas[name].pretraining, 0) == ()
    waiting = {cell.regime for key, cell in whole.transfers.items() if name in whole.behind[key]}
    assert waiting == {"adversarial"}
    checks = {k for k, cell in whole.transfers.items() if cell.transfer.checks}
    assert checks == {key for key in whole.transfers if name in whole.behind[key]}
