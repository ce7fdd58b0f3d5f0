"""The command line: bad input is refused in one line and leaves nothing behind."""

import json
import os
import time

import pytest

import search_spaces
from search_spaces import grid
from search_spaces.reading import studies
from tests.support.paths import ROOT
from trainables.store.ledger import open_ledger
from tuner.tracking import backend

SMALL = """\
name: small
source:
  dataset: {name: mnist-mini, size: 16}
  model: {arch: resnet8}
  pretrainings:
    standard: {train: {recipe: &recipe {epochs: 1, lr: 0.1}}}
pruning: {imp: {method: imp, rounds: 2, retraining: {recipe: *recipe}}}
downstream:
  - dataset: {name: digits, size: 16}
    fractions: [1.0, 0.1]
    levels: [0, 2]
    regimes:
      standard: {recipe: *recipe}
      adversarial: {recipe: *recipe, attack: &pgd {kind: pgd, epsilon: 0.1, alpha: 0.1}}
    seeds: [0, 1, 2]
evaluation: {attack: *pgd}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder; nothing may connect to a store outside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    return tmp_path


def assert_refused(result, words):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.splitlines() == [err.rstrip("\n")]
    assert words in err


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("command", ["run", "search", "plan", "status", "sync", "clean"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quikstart"], "study quikstart: unknown: did you mean quickstart?"),
        (["missing.yaml"], "study missing.yaml: cannot be read: No such file or directory"),
        (["--set", "sourc.seed=1"], "--set sourc.seed=1: no field sourc there (known: name,"),
        (["--set", "source.sed=1"], "quickstart: source.sed: unknown field (got 1)"),
        (["--set", "source.seed=x"], "source.seeds.0: Input should be a valid integer"),
        (["--set", "downstream.0.levels=[0,60]"], "level 60 is beyond what pruning makes"),
        (["--set", "downstream.0.seeds"], "write PATH=VALUE, as in downstream.0.seeds=[0,1]"),
        (["--set", "name=[1"], "--set name=[1: the value is not valid YAML"),
        (["--set"], "requires an argument"),
        (["--sets", "name=x"], "No such option: --sets"),
        (["quickstart", "quickstart"], "unexpected extra argument"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_bad_studies_are_refused(tuner, folder, command, arguments, words):
    assert_refused(tuner(command, *arguments), words)
    assert left(folder) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runn"], "No such command 'runn'"),
        (["ui", "--port", "0"], "--port"),
        (["ui"], "MLflow store mlflow.db: not there: run a study in this folder first"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_bad_commands_are_refused(tuner, folder, arguments, words):
    assert_refused(tuner(*arguments), words)
    assert left(folder) == []


def test_nothing_asked_for_prints_help(tuner, folder):
    code, out, err = tuner()
    assert (code, err) == (0, "")
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    files = (ROOT / "tuner" / "commands").glob("[!_]*.py")
    assert {file.stem for file in files} <= listed
    assert left(folder) == []


def test_the_version_is_the_package_s(tuner, folder):
    assert tuner("--version") == (0, f"double-win {search_spaces.__version__}\n", "")


def test_a_server_is_no_store_to_serve(tuner, folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert_refused(tuner("ui"), "is a server already: open it in a browser")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", 9999], "--workers 9999: the cluster has"),
        (["--workers", 0], "--workers"),
        (["--workers", "two"], "--workers"),
        (["--cpus-per-trial", 9999], "--cpus-per-trial 9999: the cluster has"),
        (["--cpus-per-trial", 0], "--cpus-per-trial 0: must be positive"),
        (["--cpus-per-trial", "nan"], "--cpus-per-trial nan"),
        (["--gpus-per-trial", 9999], "--gpus-per-trial 9999: the cluster has"),
        (["--gpus-per-trial", -1], "--gpus-per-trial -1: must"),
        (["--gpus-per-trial", "nan"], "--gpus-per-trial nan"),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_this_machine_cannot_meet_is_refused(tuner, folder, monkeypatch, arguments, words):
    # What is not refused would go on to start Ray; here it ends at the door of the tracking.
    monkeypatch.setattr(backend, "connect", lambda: pytest.fail("was not refused"))
    assert_refused(tuner("run", *arguments), words)
    assert_refused(tuner("plan", "--no-measure", *arguments), words)
    assert left(folder) == []


@pytest.mark.parametrize("storage", ["taken", "taken/results"])
def test_a_file_where_the_storage_should_be_is_refused(tuner, folder, storage):
    (folder / "taken").write_text("mine")
    result = tuner("run", "--storage", storage)
    assert_refused(result, f"{storage}: cannot be")
    assert left(folder) == ["taken"]
    assert (folder / "taken").read_text() == "mine"


def test_a_tracking_server_that_does_not_answer_is_named_within_seconds(tuner, folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    started = time.monotonic()
    result = tuner("run")
    assert_refused(result, "MLflow at http://127.0.0.1:9: does not answer")
    assert time.monotonic() - started < 30
    assert [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"] == []


@pytest.fixture
def small(folder):
    path = folder / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize("name", studies.shipped())
def test_every_shipped_study_is_planned_without_its_data(tuner, folder, name):
    code, out, err = tuner("plan", name, "--no-measure")
    assert (code, err) == (0, "")
    assert f"{name}: 0 of " in out
    assert left(folder) == []


def test_plan_counts_the_work_and_writes_nothing(tuner, folder, small):
    code, out, err = tuner("plan", small, "--no-measure")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["stage", "what", "total", "complete", "to", "run"]
    assert [line.split()[-3:] for line in out.splitlines()[1:-2]] == [
        ["1", "0", "1"],  # one theta
        ["2", "0", "2"],  # levels 1 and 2
        ["6", "0", "6"],  # standard: 2 levels x 3 seeds
        ["6", "0", "6"],  # the same on 10 % of the data
        ["6", "0", "6"],  # adversarial
        ["6", "0", "6"],
    ]
    assert "10 % of digits adversarial" in out
    assert out.splitlines()[-2] == "small: 0 of 27 results complete in results"
    assert out.splitlines()[-1].startswith("time: not known: 6 kinds of step")
    assert left(folder) == ["small.yaml"]


def test_plan_finds_what_a_run_would_refuse(tuner, folder, small):
    code, out, err = tuner(
        "plan", small, "--set", "downstream.0.dataset.name=cifar10", "--no-measure"
    )
    assert (code, err) == (0, "")
    (note,) = [line for line in out.splitlines() if line.startswith("note: ")]
    assert "colour channels" in note
    assert "small: 0 of 27 results complete" in out


def test_schema_is_json_and_a_page(tuner, folder):
    code, out, _ = tuner("schema")
    assert (code, json.loads(out)["title"]) == (0, "Study")
    code, out, _ = tuner("schema", "--markdown")
    assert (code, out.splitlines()[0]) == (0, "# Fields")
    assert left(folder) == []


def test_plan_takes_overrides(tuner, folder, small):
    arguments = ["--set", "downstream.0.seeds=[0]", "--set", "name=tiny", "--no-measure"]
    _, out, _ = tuner("plan", small, *arguments)
    assert out.splitlines()[-2] == "tiny: 0 of 11 results complete in results"


def test_status_counts_what_the_ledger_holds(tuner, folder, small):
    study = studies.load(str(small))
    ledger = open_ledger(folder / "elsewhere")
    ledger.write(grid.thetas(study)[0].theta, {}, {})
    ledger.write(grid.tickets(study)[0].ticket, {}, {})
    for cell in grid.transfers(study)[:2]:
        ledger.write(cell.transfer, {}, {})
    before = left(folder)
    code, out, err = tuner("status", small, "--storage", "elsewhere")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["stage", "what", "total", "complete"]
    counts = [line.split()[-2:] for line in out.splitlines()[1:-1]]
    assert counts[:2] == [["1", "1"], ["2", "1"]]
    assert sum(int(complete) for _, complete in counts) == 4
    assert out.splitlines()[-1] == "small: 4 of 27 results complete in elsewhere"
    _, planned, _ = tuner("plan", small, "--storage", "elsewhere", "--no-measure")
    assert planned.splitlines()[2].split()[-3:] == ["2", "1", "1"]
    assert left(folder) == before


def test_a_sync_of_nothing_or_to_nobody_is_refused(tuner, folder, small, monkeypatch):
    words = "study small: nothing finished in results: run it first"
    assert_refused(tuner("sync", small), words)
    assert left(folder) == ["small.yaml"]
    study = studies.load(str(small))
    open_ledger(folder / "results").write(grid.thetas(study)[0].theta, {}, {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert_refused(tuner("sync", small), "MLflow at http://127.0.0.1:9: does not answer")


def test_a_fragment_is_like_overrides(tuner, folder, small):
    (folder / "winner.yaml").write_text("downstream.0.seeds: [0]\nname: tuned\n")
    arguments = ("status", small, "--with", "winner.yaml", "--set", "downstream.0.fractions=[1.0]")
    code, out, _ = tuner(*arguments)
    assert code == 0
    assert out.splitlines()[-1] == "tuned: 0 of 7 results complete in results"
    (folder / "winner.yaml").write_text("downstream.9.seeds: [0]\n")
    result = tuner("run", small, "--with", "winner.yaml")
    assert_refused(result, "winner.yaml: downstream.9.seeds: 9 is not a place in a list of 1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trials", 0], "--trials"),
        (["--minutes", -1], "--minutes"),
        (["--set", "search.regime=standard"], "search.objectives: ra needs an attack"),
        (["--set", "search.trials=x"], "search.trials: Input should be a valid integer"),
        (["--cpus-per-trial", 9999], "--cpus-per-trial 9999: the cluster has"),
        (["fat-collapse"], "study fat-collapse: has no search: section: add one to its YAML"),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, list) else "",
)
def test_searches_that_cannot_be_are_refused(tuner, folder, monkeypatch, arguments, words):
    monkeypatch.setattr(backend, "connect", lambda: pytest.fail("was not refused"))
    assert_refused(tuner("search", *arguments), words)
    assert left(folder) == []


def test_plan_and_status_default_to_the_quickstart(tuner, folder):
    for command in (["plan", "--no-measure"], ["status"]):
        code, out, _ = tuner(*command)
        assert code == 0
        assert "\nquickstart: 0 of " in out
    assert left(folder) == []


def test_studies_lists_what_is_shipped_with_its_head(tuner, folder):
    code, out, err = tuner("studies")
    assert (code, err) == (0, "")
    for name in studies.shipped():
        assert name in out.splitlines()
    assert "  python -m tuner run quickstart" in out
    assert left(folder) == []


def test_help_names_every_command(tuner, folder):
    code, out, _ = tuner("--help")
    assert code == 0
    for command in ("run", "search", "plan", "status", "sync", "clean", "studies", "schema", "ui"):
        assert f"  {command} " in out


def simulate(tuner, *arguments):
    return tuner("simulate", *arguments, "--runs", 10)


def test_simulate_gives_the_same_table_for_the_same_seed(tuner, folder, small):
    first, second = (simulate(tuner, small, "--seed", 3) for _ in range(2))
    assert first == second and (first[0], first[2]) == (0, "")
    lines = first[1].splitlines()
    assert lines[0] == ("10 searches of each kind over levels 0 to 2, margin 1 points, seed 3")
    assert lines[1].split() == [
        *("curves", "policy", "rule", "transfers", "exact", "within", "1", "covers", "width")
    ]
    body = [line.split() for line in lines[2:-2]]
    assert [line[:4] for line in body[:9:3]] == [
        ["monotone", "grid", "one-std", "18.0"],
        ["monotone", "adaptive", "one-std", body[3][3]],
        ["monotone", "adaptive", "one-std", body[6][3]],
    ]
    assert len(body) == 2 * 3 * 3 and {line[0] for line in body} == {"monotone", "humped"}
    assert simulate(tuner, small, "--seed", 4)[1].splitlines()[2:] != lines[2:]
    assert left(folder) == ["small.yaml"]


def test_simulate_keeps_to_the_budget(tuner, folder, small):
    code, out, _ = simulate(tuner, small, "--budget", 12)
    assert code == 0
    assert float(out.splitlines()[5].split()[3]) <= 12


ADAPTIVE = "downstream.0.levels=adaptive"


def test_simulate_takes_the_ladder_within_the_bounds(tuner, folder, small):
    bounds = "downstream.0.levels={bounds: [1, 2], budget: 14}"
    deeper = "pruning.deep={method: random, levels: [9]}"
    code, out, err = simulate(tuner, small, "--set", bounds, "--set", deeper)
    assert (code, err) == (0, "")
    assert "over levels 0 to 2," in out
    assert float(out.splitlines()[5].split()[3]) <= 14


def test_simulate_has_room_for_a_level_on_the_shortest_ladder(tuner, folder, small):
    one = ("--set", "pruning.imp.rounds=1", "--set", "downstream.0.levels=[0,1]")
    code, out, err = simulate(tuner, small, *one)
    assert (code, err) == (0, "")
    assert float(out.splitlines()[5].split()[3]) == 8  # two regimes x (three seeds and a level)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quikstart"], "study quikstart: unknown: did you mean quickstart?"),
        (["--runs", 9], "--runs"),
        (["--runs", "many"], "--runs"),
        (["--seed", -1], "--seed"),
        (["--budget", 9], "--budget"),
        (["--set", "downstream.0.margin=2"], "downstream.0.margin: Input should be less than 1"),
        (["--recorded"], "no curve of two levels"),
        (["--set", "pruning={}", "--set", "downstream.0.levels=[0]"], "prunes nothing"),
        (
            ["--set", "downstream.0.seeds=[0,1,2,3,4,5]", "--budget", 12],
            "--budget 12: ends before a level is tried: with 6 seeds of the dense network it takes",
        ),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, list) else "",
)
def test_bad_simulations_are_refused(tuner, folder, small, arguments, words):
    study = [] if arguments[0] == "quikstart" else [small]
    assert_refused(tuner("simulate", *study, *arguments), words)
    assert left(folder) == ["small.yaml"]


def test_plan_of_a_search_says_what_it_has_asked_for(tuner, folder, small):
    whole = "downstream.0.fractions=[1.0]"
    code, out, err = tuner("plan", small, "--set", ADAPTIVE, "--set", whole, "--no-measure")
    assert (code, err) == (0, "")
    assert [line.split()[-3:] for line in out.splitlines()[1:5]] == [
        ["1", "0", "1"],
        ["2", "0", "2"],
        # Under both regimes: three seeds of dense, one of levels 1 and 2.
        *[["5", "0", "5"]] * 2,
    ]
    assert "digits standard (search)" in out
    assert left(folder) == ["small.yaml"]
