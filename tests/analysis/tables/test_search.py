"""Fronts, winners and paired differences against hand-made tables; figures; reading from MLflow."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient
from scipy import stats

from analysis.cli import main
from analysis.figures import search as search_figures
from analysis.store import load
from analysis.tables import search as search_tables
from search_spaces import trials
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.reading import studies
from tests.support.mlflow_store import empty_store

YAML = """
name: small
source:
  dataset: {name: mnist-mini, size: 16}
  model: {arch: resnet8}
  pretrainings: {standard: {train: {recipe: &recipe {epochs: 4, lr: 0.1}}}}
downstream:
  - dataset: {name: digits, size: 16}
    levels: [0]
    regimes:
      standard: {recipe: *recipe}
      adversarial: {recipe: *recipe, attack: &pgd {kind: pgd, epsilon: 0.1, alpha: 0.1}}
    seeds: [0]
evaluation: {attack: *pgd}
search:
  regime: adversarial
  pretraining: standard
  objectives: [ra, sa]
  space:
    recipe.lr: {log_uniform: [0.01, 1]}
    recipe.schedule.kind: {choice: [constant, cosine]}
    recipe.momentum: {uniform: [0.5, 0.95], when: {recipe.schedule.kind: [constant]}}
"""
OWN = {"recipe.lr": 0.1, "recipe.schedule.kind": "constant", "recipe.momentum": 0.9}
OTHERS = [
    {"recipe.lr": 0.5, "recipe.schedule.kind": "constant", "recipe.momentum": 0.6},
    {"recipe.lr": 0.02, "recipe.schedule.kind": "cosine"},
    {"recipe.lr": 0.3, "recipe.schedule.kind": "cosine"},
    {"recipe.lr": 1.0, "recipe.schedule.kind": "cosine"},
]
SCORES = [(0.50, 0.90), (0.40, 0.95), (0.55, 0.80), (0.45, 0.85), (None, None)]


def read(**search):
    data = studies.parse(YAML, "small")
    data["search"] |= search
    return studies.validate(data, "small")


def rows(study):
    """Trials with RA and SA by hand: the own one, one with more SA, one with more RA, one that the
    own one dominates, one that diverged."""
    for point, (ra, sa) in zip([OWN, *OTHERS], SCORES, strict=True):
        state = "diverged" if ra is None else "complete"
        head = {"key": key(trials.trial(study, point)), "state": state}
        yield {**head, **point, "RA": ra, "SA": sa, "epochs": 4, "seconds": 2.5}


def table(study):
    return search_tables.frame(study, list(rows(study)))


def test_the_front_by_hand():
    found = table(read())
    assert list(found["front"]) == [True, True, True, False, False]
    assert list(found["shipped"]) == [True, False, False, False, False]
    assert list(found["trial"]) == [1, 2, 3, 4, 5]
    only = table(read(objectives=["ra"]))
    assert list(only["front"]) == [False, False, True, False, False]


def test_the_winner_has_the_highest_mean():
    # Means 0.70, 0.675, 0.675: the study's own; by RA alone the third, by SA alone the second.
    for objectives, trial in ((["ra", "sa"], 1), (["ra"], 3), (["sa"], 2)):
        study = read(objectives=objectives)
        assert search_tables.winner(study, table(study))["trial"] == trial


def test_of_equals_the_studys_own_wins():
    study = read(objectives=["ra"])
    found = table(study).assign(RA=0.5)
    found["front"] = search_tables.front(found[["RA"]])
    assert search_tables.winner(study, found.iloc[::-1])["trial"] == 1


def test_without_a_score_there_is_no_winner():
    study = read()
    assert search_tables.winner(study, search_tables.frame(study, [])) is None
    failed = list(rows(study))[-1:]
    assert search_tables.winner(study, search_tables.frame(study, failed)) is None
    assert search_tables.best_so_far(study, search_tables.frame(study, failed)) == ""


scores = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20)


@settings(deadline=None)
@given(scores)
def test_the_front_is_what_optuna_says(values):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "maximize"])
    for pair in values:
        study.add_trial(optuna.trial.create_trial(values=list(map(float, pair))))
    expected = {trial.number for trial in study.best_trials}
    found = search_tables.front(pd.DataFrame(values, columns=["a", "b"]))
    assert {number for number, on in enumerate(found) if on} == expected


pairs = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=9)


@settings(deadline=None)
@given(pairs)
def test_paired_differences_are_scipys(values):
    first, second = map(np.array, zip(*values, strict=True))
    if np.std(first - second) < 1e-6:
        return
    found = search_tables.paired(first, second)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(first - second))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("best", "own", "words"),
    [
        ([0.6, 0.61, 0.62], [0.5, 0.51, 0.52], "better than the shipped recipe, beyond seed noise"),
        ([0.4, 0.41, 0.40], [0.5, 0.51, 0.51], "worse than the shipped recipe, beyond seed noise"),
        ([0.5, 0.60, 0.55], [0.55, 0.5, 0.57], "within seed noise of the shipped recipe"),
    ],
)
def test_the_sentence_follows_the_interval(best, own, words):
    assert words in search_tables.judgement("RA", best, own)


def test_the_sentence_gives_the_numbers():
    said = search_tables.judgement("RA", [0.60, 0.62], [0.50, 0.54])
    assert said.startswith(
        "RA, 2 further seeds: best 61.0±1.4 %, shipped 52.0±2.8 %, difference +9.0 [-3.7, +21.7]:"
    )


def test_lines_show_the_front_or_the_best():
    study = read()
    lines = search_tables.result_lines(study, table(study))
    assert lines[0].startswith("Pareto front of 5 trials")
    assert [line.split()[:3] for line in lines[2:]] == [
        ["3", "55.0", "80.0"],
        ["1", "50.0", "90.0"],
        ["2", "40.0", "95.0"],
    ]
    assert "shipped" in lines[3]
    study = read(objectives=["sa"])
    lines = search_tables.result_lines(study, table(study))
    assert [line.split()[0] for line in lines[2:]] == ["2", "1", "4", "3"]


def test_best_so_far_names_the_shipped_score():
    study = read()
    said = search_tables.best_so_far(study, table(study))
    assert said == "best RA 55.0 % (shipped 50.0), best SA 95.0 % (shipped 90.0)"


def lines_of(figure):
    return [line for axes in figure.axes for line in axes.lines]


def test_parallel_coordinates_show_every_trial_at_its_height():
    study = read()
    figure = search_figures.parallel(study, table(study))
    own = next(line for line in lines_of(figure) if line.get_linestyle() == "--")
    # lr 0.1 is half way on a log scale of [0.01, 1], momentum 0.9 is 8/9 of [0.5, 0.95]; RA 0.50
    # is 2/3 of the RA reached, SA 0.90 is 2/3 of the SA.
    expected = [0.5, 0.25, 0.4 / 0.45, 2 / 3, 2 / 3]
    assert list(own.get_ydata()) == pytest.approx(expected)
    grey = [li for li in lines_of(figure) if li.get_color() == search_figures.LOST_COLOUR]
    assert len(grey) == 1
    heights = grey[0].get_ydata()
    assert heights[0] == 1.0 and np.isnan(heights[2:]).all()


def test_the_pareto_figure_draws_the_front_in_order():
    study = read()
    figure = search_figures.pareto(study, table(study))
    front = next(line for line in lines_of(figure) if line.get_label() == "Pareto front")
    assert list(front.get_xdata()) == pytest.approx([80, 90, 95])
    assert list(front.get_ydata()) == pytest.approx([55, 50, 40])


def test_figures_refuse_what_they_cannot_draw():
    study = read()
    empty = search_tables.frame(study, [])
    for draw in (search_figures.parallel, search_figures.pareto):
        with pytest.raises(InputError, match="no trial has a score yet"):
            draw(study, empty)
    plain = read(regime="standard", objectives=["sa"])
    clean = table(plain).assign(RA=np.nan)
    with pytest.raises(InputError, match="no RA to draw"):
        search_figures.pareto(plain, clean)
    assert search_figures.parallel(plain, clean).axes


@pytest.fixture
def store(tmp_path):
    """A store with the study, its five trials, one of another search, and one cut short."""
    uri, study = empty_store(tmp_path), read()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("small", artifact_location=(tmp_path / "a").as_uri())
    parent = client.create_run(experiment, tags={"stage": "study"}).info.run_id
    content = study.model_dump(mode="json", exclude_none=True)
    client.log_text(parent, yaml.safe_dump(content, sort_keys=False), "study.yaml")
    client.set_terminated(parent)

    def add(trial, row, end):
        values = json.dumps(trials.values(trial))
        tags = {"stage": "search", "key": key(trial), "state": row["state"], "values": values}
        run = client.create_run(experiment, tags=tags).info.run_id
        for name in ("SA", "RA"):
            if row[name] is not None:
                client.log_metric(run, f"best_val_{name}", row[name])
        client.log_metric(run, "epochs", row["epochs"])
        client.log_metric(run, "seconds", row["seconds"])
        if end:
            client.set_terminated(run, end_time=end)

    known = list(rows(study))
    for number, (point, row) in enumerate(zip([OWN, *OTHERS], known, strict=True)):
        add(trials.trial(study, point), row, 1000 + number)
    add(trials.trial(study, OWN, (7,)), known[0], 2000)
    add(trials.trial(study, {**OWN, "recipe.lr": 0.2}), known[0], None)
    return uri


def test_mlflow_alone_gives_the_table_back(store):
    study, found = load.search_trials("small", store)
    pd.testing.assert_frame_equal(found, table(study))
    # A search is no transfer.
    assert load.load("small", store).table.empty


def test_the_command_prints_and_draws(store, tmp_path, capsys):
    arguments = ["search", "--study", "small", "--tracking-uri", store]
    assert main([*arguments, "--format", "json", "--where", "front"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["RA"] for row in shown] == [0.5, 0.4, 0.55]
    assert main([*arguments, "--out", str(tmp_path / "made")]) == 0
    for name in ("parallel.png", "pareto.png"):
        assert (tmp_path / "made" / name).read_bytes().startswith(b"\x89PNG")
