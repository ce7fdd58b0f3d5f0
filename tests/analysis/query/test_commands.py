"""Groups, comparisons and descriptions against numbers worked out by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from scipy import stats

from analysis.cli import main
from analysis.query import compare, filters, find
from analysis.store import load
from analysis.tables import people
from analysis.tables.text import format_table
from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.reading import studies
from tests.support.synthetic import Bulk, large_study

FRAME = pd.DataFrame(
    {
        "theta": ["a", "a", "a", "b"],
        "seed": [0, 1, 2, 0],
        "SA": [0.1, 0.2, 0.6, 0.5],
        "RA": [0.0, float("nan"), 0.4, 0.3],
    }
)


@pytest.fixture(scope="module")
def study():
    return large_study("small", levels=[0, 1, 9, 20], fractions=[1.0], seeds=[0, 1, 2])


@pytest.fixture(scope="module")
def store(tmp_path_factory, study):
    bulk = Bulk(tmp_path_factory.mktemp("queries"))
    bulk.add(study)
    return bulk


@pytest.fixture
def analysis(store, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)

    def run(*arguments):
        code = main(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_groups_have_the_statistics_of_their_rows():
    rows = filters.grouped(FRAME, "theta", "mean,std,n,min,max,median", "SA,RA")
    assert list(rows["theta"]) == ["a", "b"]
    first = rows.iloc[0]
    # Deviations from 0.3: -.2, -.1, .3; squares sum to .14; / 2, root.
    wanted = [0.3, math.sqrt(0.07), 3, 0.1, 0.6, 0.2]
    parts = ["mean", "std", "n", "min", "max", "median"]
    assert [first[f"SA_{part}"] for part in parts] == pytest.approx(wanted)
    assert first["RA_n"] == 2 and first["RA_mean"] == pytest.approx(0.2)
    assert math.isnan(rows.iloc[1]["SA_std"])


def test_what_groups_are_taken_over():
    assert filters.pooled(FRAME, "theta", ["theta", "seed"]) == ["seed"]
    assert filters.pooled(FRAME, "theta,seed", ["theta", "seed"]) == []


EVERY = "theta,pruning,level,dataset,regime"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--group-by", "theta,levl"], "--group-by: no column levl: did you mean level?"),
        (["--group-by", "theta", "--agg", "men"], "--agg men: did you mean mean?"),
        (["--group-by", "theta", "--columns", "SAA"], "no column SAA: did you mean SA?"),
        (["--group-by", "theta", "--columns", "dataset"], "--columns dataset: is text"),
        (["--group-by", EVERY, "--sort", "SA"], "no column SA: did you mean SA_"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_faults_of_a_query_name_the_column(analysis, arguments, said):
    code, out, err = analysis("trials", *arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1 and said in err


def test_grouped_trials_are_sorted_and_cut(analysis, store):
    code, out, err = analysis(
        *("trials", "--where", "regime == 'adversarial' and pruning == 'imp'"),
        *("--group-by", "theta,dataset,level"),
        *("--columns", "RA", "--agg", "mean", "--sort=-RA_mean", "--limit", "2"),
        *("--format", "json"),
    )
    table = load.load("small", store.uri).table
    rows = table[(table["regime"] == "adversarial") & (table["pruning"] == "imp")]
    groups = ["theta", "dataset", "level"]
    best = rows.groupby(groups)["RA"].mean().sort_values(ascending=False)[:2]
    answer = json.loads(out)
    assert code == 0
    assert [tuple(row[name] for name in groups) for row in answer] == list(best.index)
    assert [row["RA_mean"] for row in answer] == pytest.approx(list(best))
    assert err.splitlines() == [
        "note: each row is over all of seed",
        "note: the first 2 of 27 rows",
    ]


def test_no_mean_is_taken_over_prunings_or_regimes(analysis):
    code, out, err = analysis("trials", "--group-by", "theta,dataset,level")
    assert (code, out) == (2, "") and "several values of pruning, regime: add them" in err


def test_tables_for_people_are_in_percent_and_fit_120_columns(analysis, store):
    table = load.load("small", store.uri).table
    _, out, _ = analysis("trials")
    head, first, *rest = out.splitlines()
    assert all(f"{name} %" in head for name in ("sparsity", "SA", "RA"))
    assert max(map(len, out.splitlines())) <= 120 and len(rest) == len(table) - 1
    keys = [line.split()[-1] for line in (first, *rest)]
    assert len(set(keys)) == len(keys) and len(keys[0]) >= people.SHORTEST
    assert all(whole.startswith(key) for whole, key in zip(table["key"], keys, strict=True))
    _, out, _ = analysis("trials", "--format", "json", "--limit", "1")
    assert json.loads(out)[0]["SA"] == pytest.approx(table["SA"].iloc[0])


def test_which_numbers_are_shares():
    shares = ["SA", "last_RA", "SA_adversarial_mean", "RA_std", "sparsity", "best_val_SA", "val/RA"]
    others = ["SA_n", "seconds", "level", "train/loss", "SA_adversarial_n", "epochs", "seed"]
    assert all(map(people.is_share, shares)) and not any(map(people.is_share, others))
    row = people.readable(pd.DataFrame({"SA": [0.5], "n": [2], "gap": [0.25]}), ["gap"])
    assert row.to_dict("records") == [{"SA %": "50.0", "n": 2, "gap %": "25.00"}]


def ticket(sa, ra, seeds, dataset="digits"):
    return pd.DataFrame(
        {"dataset": dataset, "fraction": 1.0, "regime": "adversarial", "seed": seeds}
    ).assign(SA=sa, RA=ra)


def test_the_interval_is_that_of_a_paired_t_test():
    a, b = np.array([0.5, 0.52, 0.49, 0.55]), np.array([0.48, 0.53, 0.45, 0.5])
    low, high = compare.interval(a - b)
    theirs = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low, theirs.high))
    assert all(map(math.isnan, compare.interval(np.array([0.1]))))


def test_tickets_are_paired_by_seed():
    a = ticket([0.8, 0.9, 0.7], [0.3, 0.5, 0.1], [2, 0, 1])
    b = ticket([0.6, 0.8, 0.5], [0.2, 0.3, 0.9], [0, 2, 7])
    rows = compare.tickets(a, b).set_index("score")
    # Common seeds are 0 and 2: SA .9 - .6 = .3 and .8 - .8 = 0; RA .5 - .2 and .3 - .3.
    assert list(rows["n"]) == [2, 2]
    assert rows.loc["SA", ["a", "b", "difference"]].tolist() == pytest.approx([0.85, 0.7, 0.15])
    # Two pairs: the t value of one degree of freedom, 12.706, times their half distance.
    assert rows.loc["SA", "high"] - 0.15 == pytest.approx(12.7062 * 0.15, abs=1e-4)
    assert rows.loc["SA", "note"] == "only a has seed 1; only b has seed 7"


def test_one_seed_has_no_interval():
    rows = compare.tickets(ticket(0.8, 0.3, [0]), ticket(0.7, 0.3, [0]))
    assert set(rows["note"]) == {"1 seed: no interval"} and rows["low"].isna().all()


def test_tickets_without_a_common_task_are_refused():
    with pytest.raises(InputError, match="no task and seed"):
        compare.tickets(ticket(0.8, 0.3, [0]), ticket(0.7, 0.3, [0], "svhn"))
    with pytest.raises(InputError, match="no task and seed"):
        compare.tickets(ticket(0.8, 0.3, [0]), ticket(0.7, 0.3, [1]))


def test_compare_on_the_command_line(analysis, store, study):
    code, out, err = analysis("compare", "adversarial/imp/9", "adversarial/random/9")
    assert (code, err) == (0, "") and out.startswith("a: adversarial imp level 9, 86.58 %  (")
    table = load.load("small", store.uri).table
    chosen = table[(table["theta"] == "adversarial") & (table["level"] == 9)]
    chosen = chosen[(chosen["dataset"] == "svhn") & (chosen["regime"] == "adversarial")]
    by_seed = chosen.pivot(index="seed", columns="pruning", values="RA")
    code, out, _ = analysis(
        "compare", "adversarial/imp/9", "adversarial/random/9", "--format", "json"
    )
    row = next(r for r in json.loads(out) if r["dataset"] == "svhn" and r["score"] == "RA")
    theirs = stats.ttest_rel(by_seed["imp"], by_seed["random"])
    assert row["difference"] == pytest.approx((by_seed["imp"] - by_seed["random"]).mean())
    assert row["low"] == pytest.approx(theirs.confidence_interval(0.95).low)


def test_transfers_are_compared_by_prefix(analysis, store):
    first, second = load.load("small", store.uri).table.iloc[[0, 5]].to_dict("records")
    code, out, _ = analysis("compare", first["key"][:10], second["key"], "--format", "json")
    rows = {row["score"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["RA"]["difference"] == pytest.approx(first["RA"] - second["RA"])
    assert set(rows) == {"SA", "RA", "last_SA", "last_RA"}


def test_find_takes_keys_prefixes_and_paths(study):
    cells = {cell.key: cell for cell in grid.transfers(study)}
    for cell in (grid.thetas(study)[1], grid.tickets(study)[30], next(iter(cells.values()))):
        for text in (cell.key, cell.key[:12]):
            assert find.find(text, study, cells) == (cell.key, cell)
    key, dense = find.find("adversarial/dense", study, cells)
    assert (dense.level, dense.pretraining, key) == (0, "adversarial", dense.key)


def test_find_takes_transfers_by_their_paths(study):
    cells = {cell.key: cell for cell in grid.transfers(study)}
    for cell in cells.values():
        assert find.find(find.transfer_path(cell), study, cells) == (cell.key, cell)
    for text, level in (
        ("adversarial/imp/9", 9),
        ("adversarial/dense", 0),
        ("standard/dense/0", 0),
    ):
        _, cell = find.find(f"{text}/cifar10/adversarial/1", study, cells)
        assert (cell.ticket_cell.level, cell.regime, cell.transfer.seed) == (
            level,
            "adversarial",
            1,
        )


def test_a_transfers_path_names_one_share_of_the_data(study):
    task = study.downstream[0].model_copy(update={"fractions": (0.5, 1.0)})
    half = study.model_copy(update={"downstream": (task,)})
    cells = {cell.key: cell for cell in grid.transfers(half)}
    with pytest.raises(InputError, match=r"by its key: .*\(50%\), .*\(100%\)"):
        find.find("adversarial/dense/cifar10/standard/0", half, cells)


def test_a_random_tickets_path_stands_for_all_seeds_and_with_one_for_that(analysis, study):
    masks = [c for c in grid.tickets(study) if c.place == ("adversarial", "random", 9)]
    every = find.find("adversarial/random/9", study, {})
    assert every == (masks[0].key, replace(masks[0], replicate=None))
    for cell in masks:
        for text in (f"adversarial/random/9@{cell.replicate}", cell.key):
            assert find.find(text, study, {}) == (cell.key, cell)
    for text, seeds in (("adversarial/random/9", 3), ("adversarial/random/9@1", 1)):
        _, out, _ = analysis("compare", text, "adversarial/dense", "--format", "json")
        assert {row["n"] for row in json.loads(out)} == {seeds}
        _, out, _ = analysis("show", text, "--format", "json")
        assert len(json.loads(out)["related"]) == 3 * 2 * seeds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("adversarial/imp/90", "did you mean adversarial/imp/9?"),
        ("advers/dense", "did you mean adversarial/dense?"),
        (
            "adversarial/imp/9/cifar/standard/0",
            "did you mean adversarial/imp/9/cifar10/standard/0?",
        ),
        ("ab", "too short: write 4"),
        ("zzzzzz", "the nearest is "),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest(analysis, text, said):
    for command in (["show", text], ["compare", text, "adversarial/dense"]):
        code, out, err = analysis(*command)
        assert (code, out) == (2, "") and err.count("\n") == 1 and said in err


def test_a_prefix_of_several_keys_is_told(study):
    with pytest.raises(InputError, match=r"begins 2 keys of small: abcd1, abcd2: write more"):
        find.by_prefix("abcd", "small", {"abcd1": None, "abcd2": None, "ffff": None})


def test_a_theta_and_a_ticket_are_not_compared(analysis, study):
    theta = grid.thetas(study)[0].key
    code, _, err = analysis("compare", theta, "adversarial/dense")
    assert code == 2 and "needs two tickets or two transfers (a theta's is THETA/dense)" in err


@pytest.fixture(scope="module")
def trained(store):
    """A transfer of the store with three epochs of curves."""
    row = load.load("small", store.uri).table.iloc[7]
    client = MlflowClient(tracking_uri=store.uri)
    for epoch in (1, 2, 3):
        client.log_metric(row["run_id"], "train_loss", 1 / epoch, step=epoch)
    client.log_metric(row["run_id"], "val_RA", 0.25, step=3)
    return row


def test_show_tells_all_about_a_transfer(analysis, trained, tmp_path):
    folder = tmp_path / "transfers" / trained["key"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    shown = analysis("show", trained["key"][:8], "--format", "json", "--storage", str(tmp_path))
    assert shown[0] == 0
    content = json.loads(shown[1])
    assert content["what"]["key"] == trained["key"] and content["what"]["state"] == "complete"
    assert content["what"]["theta"] == trained["theta"]
    assert content["scores"]["SA"] == trained["SA"] and "train_loss" not in content["scores"]
    assert [row["train_loss"] for row in content["epochs"]] == pytest.approx([1, 0.5, 1 / 3])
    assert [row["val_RA"] for row in content["epochs"]] == [None, None, 0.25]
    assert content["settings"]["regime.recipe.epochs"] == 10
    assert content["mlflow"]["run"] == trained["run_id"]
    assert content["files"] == {"folder": str(folder), "holds": "result.json"}
    assert len(content["parents"]) == 2
    same = {(r["level"], r["pruning"]) for r in content["related"]}
    assert same <= {(0, "dense"), (trained["level"], trained["pruning"])}
    code, out, _ = analysis("show", trained["key"])
    assert code == 0 and "not in results/transfers/" in out and "train_loss" in out


def test_show_of_a_ticket_and_a_theta_without_runs(analysis, study):
    code, out, _ = analysis("show", "adversarial/imp/9", "--format", "json")
    content = json.loads(out)
    assert code == 0 and content["what"]["state"] == "no finished run in MLflow"
    assert len(content["related"]) == 3 * 2 * 3 and content["epochs"] == []
    theta = next(cell for cell in grid.thetas(study) if cell.pretraining == "adversarial")
    assert list(content["parents"].values()) == [theta.key]
    code, out, _ = analysis("show", theta.key)
    assert code == 0 and "pretraining.train.attack.kind" in out


def test_a_checks_surrogate_is_found_by_its_key():
    shipped = studies.load("paper")
    whole = grid.expand(shipped)
    (key,) = whole.thetas.keys() - {cell.key for cell in grid.thetas(shipped)}
    assert find.find(key[:8], shipped, whole.transfers) == (key, whole.thetas[key])


def test_markdown_and_latex_escape_what_would_break_them():
    frame = pd.DataFrame({"a|b": ["x_1 & 5 %", "y"], "n": pd.array([1, None], "Int64")})
    markdown = format_table(frame, "markdown").splitlines()
    assert markdown[0] == r"| a\|b | n |" and markdown[1] == "| --- | ---: |"
    assert markdown[2:] == ["| x_1 & 5 % | 1 |", "| y | - |"]
    latex = format_table(frame, "latex").splitlines()
    assert latex[0] == r"\begin{tabular}{lr}" and latex[-1] == r"\end{tabular}"
    assert latex[4] == r"x\_1 \& 5 \% & 1 \\"
