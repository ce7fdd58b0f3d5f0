"""Whatever is killed, running again ends as an undisturbed run: same files, same verdict, nothing
lost, nothing trained twice but the epoch that was cut short."""

import os
import random
import shutil
from dataclasses import replace
from functools import cache

import mlflow
import pytest

from search_spaces import grid
from tests.support import epochs, kills, storage
from tests.support.commands import call
from tests.support.epochs import Event
from tests.support.kills import Kill, Place
from tests.support.mlflow_server import Server
from tests.support.studies import tiny, write
from trainables.store import epochs as training
from trainables.store.ledger import UNFINISHED

OVERRIDES = (
    "source.dataset.limit=512",
    "source.pretrainings.standard.train.recipe.epochs=4",
    "pruning.imp.retraining.recipe.epochs=3",
    "downstream.0.dataset.limit=400",
    "downstream.0.levels=[0,2]",
    "downstream.0.seeds=[0,1,2]",
    "downstream.0.regimes.standard.recipe.epochs=3",
    "downstream.0.regimes.adversarial.recipe.epochs=4",
    "downstream.0.regimes.fast_adversarial={attack: {kind: fgsm, epsilon: 0.5, alpha: 1.0},"
    " containment: {fall: 0.001, gap: 0.001, patience: 1, on_collapse: lower_alpha},"
    " recipe: {epochs: 6, batch_size: 32, lr: 0.2}, only: {levels: [0]}}",
)
PARTS = {
    "workers": """start driver, source worker, source driver, transfers actor, transfers actor,
        transfers driver, transfers actor, conclusion driver""",
    "nodes": """source worker, source raylet, transfers actor, transfers raylet, transfers actor,
        transfers driver, transfers actor, conclusion driver""",
    "heads": """source gcs, source controller, source driver, transfers actor, transfers gcs,
        transfers actor, conclusion driver""",
    "tracking": """source mlflow, source worker, transfers mlflow, transfers actor,
        transfers mlflow, transfers driver, transfers actor, conclusion mlflow""",
}
"""Stage and kind of process of every kill; the seed draws when and which."""
SEED = int(os.environ.get("KILLS_SEED", "0"))
WORKERS = {"workers": 2}
"""Ray Train processes a chain where it is not one."""


LONG_CHAIN = (
    "pruning={imp: {method: imp, rounds: 2,"
    " retraining: {recipe: {epochs: 200, batch_size: 32, lr: 0.05}}}}",
)
"""So that transfers of the dense network run beside it."""


def place(folder, workers=1, **environment):
    folder.mkdir(exist_ok=True)
    write(tiny(*OVERRIDES), folder)
    return Place(folder, ("tuner", "run", "tiny.yaml", "--workers", str(workers)), environment)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """By Ray Train processes a chain: where the study was run without a kill, what was printed, and
    how much of it is done when its stages begin and end."""

    @cache
    def run(workers=1):
        here = place(tmp_path_factory.mktemp("undisturbed"), workers)
        story = kills.run(here, [], random.Random(0))
        transfers, whole = storage.keys(here.root, "transfers"), here.done
        ended = [event for event in here.log if event.what == "ended"]
        source = whole - len(transfers) - sum(event.key in transfers for event in ended)
        spans = {"start": (0, source), "source": (0, source), "transfers": (source, whole)}
        return here, story.ended.out, {**spans, "conclusion": (whole, whole + 1)}

    return run


def verdict(out):
    """The printed tables: from their first header to the advice at the end."""
    lines = out[out.index("\ntheta") :].splitlines()
    last = [n for n, line in enumerate(lines) if line.startswith(("Next:", "MLflow lacks"))]
    return [line for line in lines[: last[0]] if line]


def runs(where):
    """What MLflow holds of each result: its numbers, less the times; a list, to show duplicates."""
    client = mlflow.MlflowClient(f"sqlite:///{where.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    return sorted(
        (
            run.data.tags["key"],
            run.info.status,
            sorted((k, v) for k, v in run.data.metrics.items() if "second" not in k),
        )
        for run in client.search_runs([experiment], max_results=1000)
        if "key" in run.data.tags
    )


def assert_no_trace(where, story, reference):
    """The kills have left none, but for the epochs that were trained again."""
    now = storage.files(where.root)
    assert [name for name, content in story.kept.items() if now.get(name) != content] == []
    assert epochs.trained_again(where.log, where.root) == []
    assert epochs.overlapping(where.log) == []
    assert max(epochs.repeated(where.log), default=0) <= 1
    assert storage.comparable(where.root) == storage.comparable(reference.root)
    assert runs(where) == runs(reference)
    assert not list((where.root / "unfinished").glob("*.progress"))


def log(*lines):
    """Events as (training, attempt, what, epoch), a second apart."""
    return [Event(*line, time=float(second)) for second, line in enumerate(lines)]


def test_the_log_shows_what_was_trained_twice(tmp_path):
    """Epoch 1 is kept; of the others, one had ended and one had only begun."""
    events = log(
        ("a", "x", "begins", 1),
        ("a", "x", "ended", 1),
        ("a", "x", "begins", 2),
        ("b", "y", "begins", 1),
        ("a", "x", "ended", 2),
        ("a", "x", "begins", 3),
        ("a", "z", "begins", 2),
        ("a", "z", "ended", 2),
    )
    assert epochs.repeated(events) == [2]
    # An epoch that begins where the last one was kept repeats nothing.
    assert epochs.repeated([*events, *log(("a", "w", "begins", 3))]) == [2, 0]
    assert epochs.overlapping(events) == []
    assert epochs.overlapping([*events, replace(events[1], time=9.0)]) == ["a"]
    assert epochs.trained_again(events, tmp_path) == []
    (tmp_path / "transfers" / "a").mkdir(parents=True)
    os.utime(tmp_path / "transfers" / "a", (5.5, 5.5))
    assert epochs.trained_again(events, tmp_path) == ["a"]


@pytest.mark.long
def test_a_killed_run_ends_as_an_undisturbed_one(undisturbed, tmp_path):
    reference, out, spans = undisturbed()
    source, whole = spans["transfers"]
    wanted = [
        Kill("source", "worker", source // 4, delay=0),
        Kill("source", "raylet", source // 2, delay=0),
        Kill("transfers", "actor", source + (whole - source) // 4, delay=0),
        Kill("transfers", "driver", source + (whole - source) // 2, delay=0),
    ]
    where = place(tmp_path)
    story = kills.run(where, wanted, random.Random(1))
    assert list(story.struck) == wanted
    assert_no_trace(where, story, reference)
    assert verdict(story.ended.out) == verdict(out) != []


@pytest.mark.long
def test_a_driver_killed_while_both_stages_are_at_work(tmp_path):
    """A transfer and a chain are cut short together."""
    once, killed = (place(tmp_path / name) for name in ("once", "killed"))
    for where in (once, killed):
        study = write(tiny(*OVERRIDES, *LONG_CHAIN), where.folder)
    transfers = {cell.key for cell in grid.transfers(study)}
    kills.run(once, [], random.Random(0))

    def at_work():
        return {each.key for each in training.at_work(killed.root / UNFINISHED)}

    with killed.start() as command:
        command.until(lambda: at_work() & transfers and at_work() - transfers)
        complete = storage.files(killed.root)
        command.process.kill()
        command.end()
    story = kills.run(killed, [], random.Random(0))
    assert_no_trace(killed, replace(story, kept=complete), once)


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_any_kill_at_any_moment(undisturbed, tmp_path, part):
    workers = WORKERS.get(part, 1)
    reference, out, spans = undisturbed(workers)
    rng = random.Random(f"{SEED} {part}")
    wanted = PARTS[part].split(",")
    server = Server(tmp_path) if part == "tracking" else None
    tracking = {"MLFLOW_TRACKING_URI": server.uri} if server else {}
    where = place(tmp_path, workers, **tracking)
    try:
        story = kills.run(where, kills.draw(rng, wanted, spans), rng, server)
        if server:
            server.start()
            caught_up = call("tuner", "sync", "tiny.yaml", cwd=tmp_path, **tracking)
            assert caught_up.code == 0, caught_up.err
    finally:
        if server:
            server.kill()
    print(f"{part}: {', '.join(f'{kill.stage} {kill.kind}' for kill in story.struck)}")
    assert len(story.struck) >= len(wanted) - 2
    assert_no_trace(where, story, reference)
    assert verdict(story.ended.out) == verdict(out) != []


@pytest.mark.long
def test_evidence_is_gathered_as_if_nothing_had_been_killed(undisturbed, tmp_path):
    reference, _, spans = undisturbed()
    few = ("--levels", "2", "--points", "3", "--images", "16", "--autoattack-images", "0")
    command = ("tuner", "evidence", "tiny.yaml", *few)
    once, killed = (replace(place(tmp_path / name), command=command) for name in ("once", "killed"))
    for where in (once, killed):
        shutil.copytree(reference.root, where.root)
    rng = random.Random(SEED)
    kills.run(once, [], rng)
    spans = {**spans, "evidence": (killed.done, once.done)}
    wanted = [f"evidence {kind}" for kind in ("task", "driver", "raylet", "task")]
    story = kills.run(killed, kills.draw(rng, wanted, spans), rng)
    assert len(story.struck) >= 3
    assert_no_trace(killed, story, once)
