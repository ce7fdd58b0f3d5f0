"""Loading, the command line and the figures, over a small MLflow store as the driver writes it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient

from analysis import figures
from analysis.cli import main
from analysis.query import filters
from analysis.store import load
from analysis.verdict import one_std, records, rules
from analysis.verdict.results import COLUMNS
from search_spaces import __version__, grid
from search_spaces.errors import InputError
from search_spaces.reading import studies
from tests.support.mlflow_store import empty_store
from tests.support.paths import ROOT

ADDED = ("missing", "transfers", "flagged")
"""Columns that the commands add to a verdict."""

SMALL = """
name: small
source:
  dataset: {name: mnist-mini, size: 16}
  model: {arch: resnet8, width: 8}
  pretrainings: {standard: {train: {recipe: &recipe {epochs: 1, lr: 0.1}}}}
pruning:
  imp: {method: imp, rounds: 4, retraining: {recipe: *recipe}}
  random: {method: random, levels: [4]}
downstream:
  - dataset: {name: digits, size: 16}
    levels: [0, 2, 4]
    seeds: [0, 1]
    regimes:
      standard: {recipe: *recipe}
      adversarial: {recipe: *recipe, attack: {kind: pgd, epsilon: 0.1, alpha: 0.1}}
evaluation: {attack: {kind: pgd, epsilon: 0.1, alpha: 0.1}}
"""


def study(name):
    return studies.validate({**studies.parse(SMALL, name), "name": name}, name)


@dataclass(frozen=True)
class Store:
    client: MlflowClient
    uri: str
    folder: Path

    def add_study(self, study):
        """An experiment with its parent run; returns both ids."""
        experiment = self.client.create_experiment(
            study.name, artifact_location=(self.folder / study.name).as_uri()
        )
        parent = self.client.create_run(
            experiment, run_name=study.name, tags={"stage": "study"}
        ).info.run_id
        content = study.model_dump(mode="json", exclude_none=True)
        self.client.log_text(parent, yaml.safe_dump(content, sort_keys=False), "study.yaml")
        return experiment, parent

    def add_transfer(
        self, experiment, parent, key, metrics, status="FINISHED", state="complete", curves=None
    ):
        """`curves`: metric -> values by epoch from 1."""
        tags = {"stage": "transfer", "state": state, "key": key, "mlflow.parentRunId": parent}
        run = self.client.create_run(experiment, tags=tags).info.run_id
        for name, value in metrics.items():
            self.client.log_metric(run, name, value)
        for name, values in (curves or {}).items():
            for epoch, value in enumerate(values, 1):
                self.client.log_metric(run, name, value, step=epoch)
        self.client.set_terminated(run, status)
        return run


def scores(cell):
    """Dense and imp level 2 are equal; imp level 4 and random lose 0.2 of RA."""
    seed, label = cell.labels["seed"], cell.labels
    poor = label["level"] == 4
    adversarial = label["regime"] == "adversarial"
    sa = (0.85 if adversarial else 0.98) + 0.002 * seed
    ra = (0.5 if adversarial else 0.0) + 0.01 * seed - (0.2 if poor and adversarial else 0.0)
    return {"SA": sa, "RA": ra, "last_SA": sa, "last_RA": ra, "best_epoch": 1, "epochs": 1}


@pytest.fixture(scope="module")
def small():
    return study("small")


@pytest.fixture(scope="module")
def store(tmp_path_factory, small):
    """A complete study `small`, then `half`: its dense and imp level 2 transfers only."""
    folder = tmp_path_factory.mktemp("store")
    uri = empty_store(folder)
    store = Store(MlflowClient(tracking_uri=uri), uri, folder)
    half = study("half")
    for content in (small, half):
        experiment, parent = store.add_study(content)
        for cell in grid.transfers(content):
            if content is small or cell.labels["level"] < 4:
                store.add_transfer(experiment, parent, cell.key, scores(cell))
    # What must not count: unfinished, deleted, of another stage, of another key.
    absent = grid.transfers(half)[-1].key
    store.add_transfer(experiment, parent, absent, {"SA": 1.0}, status="FAILED")
    store.client.delete_run(store.add_transfer(experiment, parent, absent, {"SA": 1.0}))
    store.client.set_tag(
        store.add_transfer(experiment, parent, absent, {"SA": 1.0}), "stage", "ticket"
    )
    store.add_transfer(experiment, parent, "0" * 16, {"SA": 1.0})
    store.add_study(study("bare"))
    return store


@pytest.fixture
def analysis(store, capsys, monkeypatch):
    """Runs a command line on the store: exit code, stdout, stderr."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)

    def run(*arguments):
        code = main(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_load_joins_scores_to_the_study_labels(store, small):
    results = load.load("small", store.uri)
    assert results.study == small and results.missing.empty
    assert list(results.table.columns) == list(COLUMNS)
    cells = grid.transfers(small)
    assert list(results.table["key"]) == [cell.key for cell in cells]
    for row, cell in zip(results.table.to_dict("records"), cells, strict=True):
        assert {name: row[name] for name in cell.labels} == cell.labels
        assert (row["SA"], row["RA"]) == (scores(cell)["SA"], scores(cell)["RA"])
    assert results.table["seconds"].isna().all()
    assert set(results.table["state"]) == {"complete"}


def test_load_names_what_is_missing(store):
    results = load.load("half", store.uri)
    assert set(results.missing["level"]) == {4}
    assert len(results.table) + len(results.missing) == len(grid.transfers(results.study))
    assert len(results.expected) == len(grid.transfers(results.study))
    assert results.expected["SA"].isna().sum() == len(results.missing)


def test_the_default_study_is_the_latest_and_the_latest_of_two_runs_counts(store):
    again = study("again")
    experiment, parent = store.add_study(again)
    key = grid.transfers(again)[0].key
    store.add_transfer(experiment, parent, key, {"SA": 0.1})
    latest = store.add_transfer(experiment, parent, key, {"SA": 0.2})
    try:
        results = load.load(tracking_uri=store.uri)
        assert results.study.name == "again" and results.parent.run_id == parent
        assert list(results.table["run_id"]) == [latest]
    finally:
        store.client.delete_experiment(experiment)


def test_extreme_as_a_table(analysis):
    code, out, err = analysis("extreme", "--study", "small", "--rule", "one-std")
    assert (code, err) == (0, "")
    title, head, imp, random, footer = out.splitlines()
    assert title == "digits" and head.startswith("theta     pruning  extreme  SA standard")
    assert imp.split()[:4] == ["standard", "imp", "36.00", "%"] and imp.endswith("none tested")
    assert random.split()[:4] == ["standard", "random", "0.00", "%"]
    assert footer.endswith("2 seeds)")


def test_extreme_as_csv_and_json(analysis, tmp_path):
    code, out, err = analysis("extreme", "--study", "small", "--rule", "one-std", "--format", "csv")
    (tmp_path / "out.csv").write_text(out)
    frame = pd.read_csv(tmp_path / "out.csv")
    assert (code, err) == (0, "")
    assert list(frame.columns) == [*one_std.EXTREME_COLUMNS, *ADDED] and list(frame["level"]) == [
        2,
        0,
    ]
    code, out, err = analysis("extreme", "--study", "half", "--format", "json")
    content = json.loads(out)
    assert code == 0 and content["study"] == "half"
    assert content["extreme"][0]["sparsity"] == pytest.approx(0.36)
    assert content["extreme"][0]["note"] == "incomplete: 59.04 %, the extreme may be higher"
    assert {cell["level"] for cell in content["missing"]} == {4}


def test_extreme_says_it_in_a_sentence(analysis):
    code, out, err = analysis("extreme", "--study", "small")
    assert (code, err) == (0, "")
    assert "From the standard theta, no ticket of imp is shown" in " ".join(out.split())
    assert "From the standard theta, no tested ticket of random" in " ".join(out.split())


def test_extreme_explains_both_rules(analysis):
    code, out, err = analysis("extreme", "--study", "small", "--explain")
    assert (code, err) == (0, "")
    paper, shown = out.split("\n\n")
    assert paper.splitlines()[-1].endswith("2 seeds)")
    title, head, imp, random, footer = shown.splitlines()
    assert title == "digits, margin 1 point"
    assert head.split("  ")[0] == "theta" and "one-std" in head and "non-inferior" in head
    # RA of two seeds scatters by 0.7 points under adversarial training: nothing is shown yet.
    assert imp.split()[:6] == ["standard", "imp", "36.00", "%", "0.00", "%"]
    assert "undecided: " in imp and "36.00 %" in imp.split("undecided: ")[1]
    assert "refuted: every tested level fails" in random
    # Nothing recorded which images were right: their error is a bound by the scores' grain.
    assert "test-set error included" in footer


def test_each_rule_alone(analysis):
    _, both, _ = analysis("extreme", "--study", "small", "--explain")
    _, paper, _ = analysis("extreme", "--study", "small", "--rule", "one-std")
    _, shown, _ = analysis("extreme", "--study", "small", "--rule", "non-inferiority")
    assert both == f"{paper}\n{shown}"


def test_rules_as_json(analysis):
    def content(*arguments):
        code, out, err = analysis("extreme", "--study", "small", "--format", "json", *arguments)
        assert (code, err) == (0, "")
        return json.loads(out)

    found = content()
    assert list(found) == ["study", "rule", "extreme", "non_inferiority", "missing"]
    assert list(content("--rule", "one-std")) == ["study", "rule", "extreme", "missing"]
    assert list(content("--rule", "non-inferiority")) == [
        *("study", "rule", "non_inferiority", "missing")
    ]
    imp, random = found["non_inferiority"]
    assert (imp["pruning"], imp["level"], imp["likely_level"], imp["n"]) == ("imp", 0, 2, 2)
    assert (random["status"], random["margin"], random["confidence"]) == ("refuted", 0.01, 0.95)
    assert imp["RA_adversarial_difference"] is None and imp["test_images"] is True


def test_rules_as_csv(analysis, tmp_path):
    code, out, err = analysis("extreme", "--study", "small", "--format", "csv")
    assert (code, err) == (0, "")
    paper, shown = (pd.read_csv(StringIO(text)) for text in out.split("\n\n"))
    assert list(paper.columns) == [*one_std.EXTREME_COLUMNS, *ADDED]
    assert list(shown.columns) == [*rules.SHOWN_COLUMNS, *ADDED]
    assert list(shown["status"]) == ["undecided", "refuted"]
    code, alone, _ = analysis(
        *("extreme", "--study", "small", "--rule", "non-inferiority", "--format", "csv")
    )
    pd.testing.assert_frame_equal(pd.read_csv(StringIO(alone)), shown)


@pytest.fixture(scope="module")
def searched(store, tmp_path_factory):
    """The store with a study whose levels are searched for: what the search asked for is there,
    with records, and with a spread small enough to be sure."""
    folder = tmp_path_factory.mktemp("searched")
    uri = f"sqlite:///{shutil.copy(store.folder / 'mlflow.db', folder)}"
    store = Store(MlflowClient(tracking_uri=uri), uri, folder)
    text = SMALL.replace("[0, 2, 4]", "adaptive")
    content = studies.validate({**studies.parse(text, "searched"), "name": "searched"}, "searched")
    experiment, parent = store.add_study(content)
    correct = {}
    for cell in grid.transfers(content):
        level, seed = cell.labels["level"], cell.labels["seed"]
        if level in (0, 2, 3) and seed < (4 if level == 0 else 3):
            sa = 0.9 + 0.0004 * seed - (0.2 if level == 3 else 0)
            store.add_transfer(experiment, parent, cell.key, {"SA": sa, "RA": sa - 0.4})
            order = np.random.default_rng(level).permutation(10_000)
            correct[cell.key] = {s: order < 10_000 * (sa - d) for s, d in (("SA", 0), ("RA", 0.4))}
    store.client.log_artifact(parent, str(_file(folder / "correct.npz", records.pack(correct))))
    return store, correct


def _file(path, content):
    path.write_bytes(content)
    return path


def test_what_a_search_did_not_ask_for_is_not_missing(searched):
    store, correct = searched
    results = load.load("searched", store.uri, with_correct=True)
    assert results.missing.empty and set(results.table["key"]) == set(correct)
    assert set(results.correct) == set(correct)
    for name, record in correct.items():
        assert (results.correct[name]["RA"] == record["RA"]).all()


def test_a_search_is_judged_from_the_store_alone(searched, capsys):
    store, _ = searched
    arguments = ["extreme", "--study", "searched", "--tracking-uri", store.uri, "--format", "json"]
    assert main(arguments) == 0
    imp = json.loads(capsys.readouterr().out)["non_inferiority"][0]
    assert imp["test_images"] and imp["dense_n"] == 4
    assert imp["likely_level"] == 2
    # Level 3 fails; level 4 was not tried, so it is within the interval if level 3 is not above it.
    assert imp["high_sparsity"] == pytest.approx(1 - 0.8**2)


def test_without_records_a_study_is_loaded_as_before(store):
    assert load.load("small", store.uri, with_correct=True).correct == {}


def test_missing_transfers_are_counted_in_a_verdict_and_named_apart(analysis):
    _, out, err = analysis("extreme", "--study", "half")
    assert out.startswith("INCOMPLETE: 8 of 16 transfers are missing: ")
    assert "\n* standard imp on digits: " in out
    assert err.startswith("missing: 8 of 16 transfers: theta=standard, pruning=imp, level=4, ")
    assert err.endswith("; and 5 more\n") and err.count("\n") == 1


def test_trials_chooses_rows_and_columns(analysis):
    code, out, _ = analysis(
        *("trials", "--study", "small", "--where", "pruning == 'imp' and RA < 0.4 and RA > 0.1"),
        *("--columns", "level,seed,RA", "--sort=-RA", "--format", "csv"),
    )
    assert code == 0
    rows = [line.split(",") for line in out.splitlines()]
    assert rows[0] == ["level", "seed", "RA"]
    assert [(level, seed, float(ra)) for level, seed, ra in rows[1:]] == [
        ("4", "1", pytest.approx(0.31)),
        ("4", "0", pytest.approx(0.3)),
    ]
    code, out, _ = analysis("trials", "--study", "small", "--format", "json")
    assert len(json.loads(out)) == 16
    code, out, _ = analysis("trials", "--study", "small", "--where", "SA > 1")
    assert code == 0 and len(out.splitlines()) == 1


@pytest.mark.parametrize("command", ["extreme", "trials", "curves"])
def test_nothing_there_yet_names_the_command(analysis, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = analysis(command, "--study", "bare")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].endswith("in bare yet: python -m tuner run bare")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["extreme", "--study", "smal"], "did you mean small? it holds bare, half, small"),
        (["extreme", "--format", "xml"], "xml"),
        (["extreme", "--nonsense"], "--nonsense"),
        (["trials", "--where", "prunning == 'imp'"], "no column prunning: did you mean pruning?"),
        (["trials", "--columns", "SA,thet"], "no column thet: did you mean theta?"),
        (["trials", "--sort", "best"], "no column best: did you mean best_epoch?"),
        (["trials", "--where", "theta = 'a'"], "not an expression"),
        (["trials", "--where", "theta.str.len() > 1"], "is not allowed"),
        (["trials", "--where", "__import__('os').system('true')"], "Call is not allowed"),
        (["trials", "--where", "theta > 3"], "cannot be computed"),
        (["trials", "--where", "SA + 1"], "must be true or false"),
        (["curves", "--out", "curves.gif"], "must end in one of .png, .pdf, .svg"),
        (["extreme", "--tracking-uri", "sqlite:///no.db"], "there is no such file"),
        (["extreme", "--tracking-uri", "sqlite:///words.db"], "not an MLflow database"),
        (["extreme", "--tracking-uri", "sqlite:///empty.db"], "not an MLflow database"),
        (["extreme", "--tracking-uri", "nonsense://x"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_code_2(analysis, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    Path("words.db").write_text("no database")
    Path("empty.db").touch()
    study = ["--study", "small"] if arguments[:1] == ["trials"] else []
    code, out, err = analysis(*arguments, *study)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db", "words.db"]
    assert Path("empty.db").stat().st_size == 0


def test_nothing_asked_for_prints_help_and_the_version_is_the_package_s(analysis):
    code, out, err = analysis()
    assert (code, err) == (0, "") and "extreme" in out
    assert analysis("--version") == (0, f"double-win-analysis {__version__}\n", "")


def test_select_is_a_pure_function():
    frame = pd.DataFrame({"theta": ["a", "b", "c"], "SA": [0.1, float("nan"), 0.3]})
    assert list(filters.select(frame, "theta in ['a', 'b'] and not SA > 0.2")["theta"]) == [
        "a",
        "b",
    ]
    assert list(filters.select(frame, "0 < SA * 2 <= 0.2")["theta"]) == ["a"]
    assert list(filters.select(frame, 'theta != "a"', "SA,theta", "-SA")["theta"]) == ["c", "b"]
    for unsafe in (
        "SA.__class__",
        "frame[0]",
        "lambda: 1",
        "@frame",
        "2 ** 9 ** 9 > SA",
        "f'{SA}'",
    ):
        with pytest.raises(InputError):
            filters.select(frame, unsafe)


def test_curves_draws_the_means(store):
    figure = figures.curves(load.load("small", store.uri))
    panels = figure.axes
    assert [panel.get_title() for panel in panels] == [
        "SA, standard training",
        "SA, adversarial training",
        "RA, adversarial training",
    ]
    lines = {line.get_label(): line for line in panels[2].get_lines()}
    imp = lines["standard imp"]
    assert list(imp.get_xdata()) == [0, 1, 2]
    assert list(imp.get_ydata()) == pytest.approx([50.5, 50.5, 30.5])
    stars = [line for line in panels[2].get_lines() if line.get_marker() == "*"]
    assert [list(star.get_xdata()) for star in stars] == [[1]]
    dense = [line for line in panels[2].get_lines() if line.get_linestyle() == "--"]
    assert list(dense[0].get_ydata()) == pytest.approx([50.5, 50.5])
    (random,) = panels[2].containers
    assert random.get_label() == "standard random"
    assert list(random.lines[0].get_ydata()) == pytest.approx([30.5])
    labels = [label.get_text() for label in panels[0].get_xticklabels()]
    assert labels == ["0.00", "36.00", "59.04"]


def test_curves_of_nothing_are_refused(store):
    results = load.load("small", store.uri)
    dense = results.expected[results.expected["pruning"] == "dense"]
    with pytest.raises(InputError, match="no transfer of a pruned ticket"):
        figures.curves(replace(results, expected=dense))


def test_curves_are_written(analysis, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert analysis("curves", "--study", "half")[:2] == (0, "wrote curves.png\n")
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    assert analysis("curves", "--study", "small", "--out", "c.svg")[:2] == (0, "wrote c.svg\n")
    assert "<svg" in Path("c.svg").read_text()


FAST = """
      fast_adversarial:
        only: {levels: [0]}
        recipe: *recipe
        attack: {kind: fgsm, epsilon: 0.1, alpha: 0.125}
"""
PROBES = {
    0: {"probe_FGSM": [0.4, 0.95, 0.97], "probe_PGD": [0.3, 0.05, 0.0]},
    1: {"probe_FGSM": [0.4, 0.5, 0.6, 0.7], "probe_PGD": [0.3, 0.4, 0.5, 0.55]},
}


@pytest.fixture(scope="module")
def watched(store, tmp_path_factory):
    """The store with a further study: its transfer of seed 0 collapsed, and stopped in epoch 3."""
    folder = tmp_path_factory.mktemp("watched")
    uri = f"sqlite:///{shutil.copy(store.folder / 'mlflow.db', folder)}"
    store = Store(MlflowClient(tracking_uri=uri), uri, folder)
    text = SMALL.replace("\nevaluation", FAST + "evaluation")
    content = studies.validate({**studies.parse(text, "watched"), "name": "watched"}, "watched")
    experiment, parent = store.add_study(content)
    for cell in grid.transfers(content):
        seed, is_fast = cell.labels["seed"], cell.regime == "fast_adversarial"
        state = "co_stopped" if is_fast and seed == 0 else "complete"
        curves = PROBES[seed] if is_fast else {}
        store.add_transfer(experiment, parent, cell.key, {"SA": 0.5}, state=state, curves=curves)
    return store


def test_probe_curves_have_a_row_for_each_epoch_of_each_watched_transfer(watched):
    results = load.load("watched", watched.uri)
    probes = load.probe_curves(results, watched.uri)
    assert set(probes["regime"]) == {"fast_adversarial"} and len(results.table) > 2
    for seed, curves in PROBES.items():
        rows = probes[probes["seed"] == seed]
        assert list(rows["epoch"]) == list(range(1, len(curves["probe_PGD"]) + 1))
        assert list(rows["FGSM"]) == curves["probe_FGSM"]
        assert list(rows["PGD"]) == curves["probe_PGD"]
    assert list(probes["state"]) == ["co_stopped"] * 3 + ["complete"] * 4


def test_collapse_draws_both_accuracies_and_crosses_what_was_stopped(watched):
    probes = load.probe_curves(load.load("watched", watched.uri), watched.uri)
    (axes,) = figures.collapse(probes).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    for seed, curves in PROBES.items():
        for name, stroke in (("PGD", "-"), ("FGSM", ":")):
            line = lines[f"digits, standard dense, seed {seed}: {name}"]
            assert list(line.get_ydata()) == pytest.approx(
                [100 * v for v in curves[f"probe_{name}"]]
            )
            assert list(line.get_xdata()) == list(range(1, len(curves[f"probe_{name}"]) + 1))
            assert line.get_linestyle() == stroke
    crosses = [line for line in axes.get_lines() if line.get_marker() == "X"]
    assert [(list(c.get_xdata()), list(c.get_ydata())) for c in crosses] == [([3], [0.0])]


def test_collapse_of_nothing_is_refused(store):
    probes = load.probe_curves(load.load("small", store.uri), store.uri)
    with pytest.raises(InputError, match="no transfer was watched"):
        figures.collapse(probes)


def test_collapse_is_written(watched, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["collapse", "--study", "watched", "--tracking-uri", watched.uri]
    assert main(arguments) == 0
    assert capsys.readouterr() == ("wrote collapse.png\n", "")
    assert Path("collapse.png").read_bytes().startswith(b"\x89PNG")


def test_collapse_without_anything_watched_is_code_1(analysis, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = analysis("collapse", "--study", "small")
    assert (code, out) == (1, "")
    assert err.startswith("nothing to draw in small") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_verdict_needs_neither_ray_nor_torch(store):
    """In a fresh process, as a user runs it, with both blocked and all that is imported checked."""
    code = (
        "import sys; sys.modules['ray'] = sys.modules['torch'] = None\n"
        "from analysis.cli import main\n"
        "heavy = {'mlflow', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, f'imported for --help: {heavy}'\n"
        "code = main(['extreme', '--study', 'small'])\n"
        "ours = {'trainables', 'tuner', 'matplotlib'} & set(sys.modules)\n"
        "assert not ours, ours\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": store.uri},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "36.00 %" in done.stdout
