"""Whatever is killed, running again ends as an undisturbed run: same files, same verdict, nothing
lost, nothing trained twice but the epoch that was cut short.

Short form: the marker `ray`. Long form, more than thirty kills over all stages and kinds of
process: `pytest -m chaos -s` (about 15 minutes on 2 cores; CHAOS_SEED=N for other moments).
"""

import json
import os
import random
import shutil
from dataclasses import replace
from functools import cache

import mlflow
import pytest

from tests.support.chaos import Campaign, draw, figures
from tests.support.chaos_place import (
    Event,
    Place,
    comparable,
    lost,
    overlapping,
    repeated,
    trained_again,
    verdict,
)
from tests.support.chaos_processes import Driver, Server

YAML = """
name: chaos
source:
  dataset: {name: mnist-mini, size: 8, limit: 512}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: {epochs: 4, batch_size: 32, lr: 0.1}}}
    adversarial:
      train:
        attack: {kind: pgd, steps: 2, epsilon: 0.1, alpha: 0.1}
        recipe: {epochs: 3, batch_size: 32, lr: 0.1}
pruning:
  imp: {method: imp, rounds: 3, retraining: {recipe: {epochs: 2, batch_size: 32, lr: 0.05}}}
  random: {method: random, levels: [3], pretrainings: [adversarial]}
downstream:
  - dataset: {name: digits, size: 8, limit: 400}
    levels: [0, 3]
    seeds: [0, 1]
    regimes:
      standard: {recipe: {epochs: 3, batch_size: 32, lr: 0.1}}
      adversarial:
        attack: {kind: pgd, steps: 3, epsilon: 0.1, alpha: 0.05}
        recipe: {epochs: 4, batch_size: 32, lr: 0.1}
      fast_adversarial:
        attack: {kind: fgsm, epsilon: 0.5, alpha: 1.0}
        containment: {fall: 0.001, gap: 0.001, patience: 1, on_collapse: lower_alpha}
        recipe: {epochs: 6, batch_size: 32, lr: 0.2}
        only: {pretrainings: [standard], levels: [0]}
evaluation:
  attack: {kind: pgd, steps: 5, epsilon: 0.1, alpha: 0.05}
"""
COMMAND = ("tuner", "run", "chaos.yaml")
EVERY_EPOCH = {"KEEP_SECONDS": "0"}
"""Progress is kept at the end of every epoch: then no more than one epoch may be repeated."""


PARTS = {
    "workers": """start driver, source worker, source driver, transfers actor, transfers actor,
        transfers actor, transfers driver, transfers actor, conclusion driver""",
    "nodes": """source worker, source raylet, transfers actor, transfers actor, transfers raylet,
        transfers actor, transfers driver, transfers actor, conclusion driver""",
    "heads": """source gcs, source controller, source driver, transfers actor, transfers actor,
        transfers gcs, transfers actor, transfers actor, conclusion driver""",
    "tracking": """source mlflow, source worker, transfers mlflow, transfers actor, transfers actor,
        transfers mlflow, transfers driver, transfers actor, conclusion mlflow""",
}
"""The kills of the long form: stage and kind of process; the seed draws when and which."""
SEED = int(os.environ.get("CHAOS_SEED", "0"))


WORKERS = {"workers": 2}
"""Ray Train processes a chain where it is not one."""


def place(folder, workers=1, **environment):
    folder.mkdir(exist_ok=True)
    (folder / "chaos.yaml").write_text(YAML)
    command = (*COMMAND, "--workers", str(workers))
    return Place(folder, command, {**EVERY_EPOCH, **environment})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """By Ray Train processes a chain: the study, run without a kill, and how much of it is done
    when its stages begin and end."""

    @cache
    def run(workers=1):
        here = place(tmp_path_factory.mktemp("undisturbed"), workers)
        campaign = Campaign(here, random.Random(0)).run([])
        print(f"\nundisturbed, {workers} workers: {campaign.seconds:.0f} s")
        transfers = {path.name for path in here.results("transfers")}
        epochs = [e for e in here.events() if e.what == "ended" and e.key in transfers]
        whole = here.done()
        source = whole - len(epochs) - len(transfers)
        spans = {"start": (0, whole), "source": (0, source), "transfers": (source, whole)}
        return campaign, {**spans, "conclusion": (whole, whole + 1)}

    return run


def runs(where):
    """What MLflow holds of each result: its numbers, less the times; a list, to show duplicates."""
    client = mlflow.MlflowClient(f"sqlite:///{where.folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'chaos'")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return sorted(
        (
            run.data.tags.get("key", ""),
            run.info.status,
            sorted((k, v) for k, v in run.data.metrics.items() if "second" not in k),
        )
        for run in found
        if "key" in run.data.tags
    )


def caught_up(where, server):
    """What MLflow missed while it was away is written once it is back."""
    server.start()
    sync = Driver(replace(where, command=("tuner", "sync", "chaos.yaml")))
    assert sync.end(300) == 0, sync.lines


def check(campaign, reference):
    """That the kills have left no trace."""
    here = campaign.place
    assert lost(here, campaign.kept) == []
    assert trained_again(here) == []
    assert overlapping(here.events()) == []
    assert not any(kill.hung for kill in campaign.kills)
    once, now = comparable(reference.place), comparable(here)
    assert now.keys() == once.keys()
    assert [name for name in once if now[name] != once[name]] == []
    assert runs(here) == runs(reference.place)
    assert not list((here.root / "unfinished").glob("*.progress"))
    assert max((r.epochs for r in repeated(here.events())), default=0) <= 1


def log(*lines):
    """Events as (training, attempt, what, epoch), a second apart; an epoch lasts two seconds."""
    return [
        Event(key, attempt, what, number, 2.0 if what == "ended" else 0.0, float(time))
        for time, (key, attempt, what, number) in enumerate(lines)
    ]


def test_epochs_that_are_repeated_are_counted():
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
    (again,) = repeated(events)
    assert (again.key, again.epochs, again.seconds) == ("a", 2, 2.0)
    # An epoch that begins where the last one was kept repeats nothing.
    assert [r.epochs for r in repeated([*events, *log(("a", "w", "begins", 3))])] == [2, 0]


def test_two_at_once_are_seen():
    one = log(("a", "x", "begins", 1), ("a", "y", "begins", 1), ("a", "x", "ended", 1))
    assert overlapping(one) == ["a"]
    assert overlapping([one[0], one[2], replace(one[1], time=9.0)]) == []


def test_lost_and_changed_results_and_those_trained_again_are_seen(tmp_path):
    where = Place(tmp_path, ())
    for name in ("one", "two", "three"):
        folder = where.root / "transfers" / name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(f'{{"ended": 1, "key": "{name}"}}')
    kept = where.complete()
    assert (len(kept), lost(where, kept)) == (3, [])
    before = comparable(where)
    (where.root / "transfers/one/result.json").unlink()
    (where.root / "transfers/two/result.json").write_text('{"ended": 2, "key": "two"}')
    assert sorted(lost(where, kept)) == ["transfers/one/result.json", "transfers/two/result.json"]
    # Times may differ between runs, not within one: nothing complete is ever written again.
    after = comparable(where)
    assert [n for n in before if before[n] != after.get(n)] == ["transfers/one/result.json"]
    late = where.root.stat().st_mtime + 100
    lines = [["three", "x", "begins", 1, 0.0, late], ["three", "x", "ended", 1, 1.0, late]]
    where.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert trained_again(where) == ["three"]
    assert where.done() == 1 + 3


def test_kills_are_drawn_within_their_stages():
    spans = {"source": (0, 10), "transfers": (10, 30), "conclusion": (30, 31)}
    wanted = [(stage, "driver") for stage in spans] * 50
    kills = draw(random.Random(3), wanted, spans)
    assert [(kill.stage, kill.kind) for kill in kills] == wanted
    assert kills == draw(random.Random(3), wanted, spans)
    for stage, (first, end) in spans.items():
        drawn = {kill.after for kill in kills if kill.stage == stage}
        assert min(drawn) >= first and max(drawn) < end and len(drawn) >= min(8, end - first)


@pytest.mark.long
def test_killed_runs_end_as_an_undisturbed_one(undisturbed, tmp_path):
    reference, spans = undisturbed()
    rng = random.Random(1)
    wanted = [
        ("source", "worker"),
        ("source", "raylet"),
        ("transfers", "actor"),
        ("transfers", "driver"),
    ]
    campaign = Campaign(place(tmp_path), rng).run(draw(rng, wanted, spans))
    print(figures([campaign]))
    assert len(campaign.kills) >= 3
    check(campaign, reference)
    assert verdict(campaign.out) == verdict(reference.out) != []


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_any_kill_at_any_moment(undisturbed, tmp_path, part):
    """A kill that finds no process in time comes in a further campaign, at another moment."""
    workers = WORKERS.get(part, 1)
    reference, spans = undisturbed(workers)
    rng = random.Random(f"{SEED} {part}")
    wanted = [tuple(pair.split()) for pair in PARTS[part].split(",")]
    campaigns = []
    while wanted and len(campaigns) < 4:
        folder = tmp_path / str(len(campaigns))
        server = Server(folder) if part == "tracking" else None
        tracking = {"MLFLOW_TRACKING_URI": server.uri} if server else {}
        where = place(folder, workers, **tracking)
        campaign = Campaign(where, rng, server)
        campaigns.append(campaign)
        try:
            campaign.run(draw(rng, wanted, spans))
            if server:
                caught_up(where, server)
        finally:
            if server:
                server.kill()
        print(f"\n{part}, campaign {len(campaigns)}:\n{figures([campaign])}")
        wanted = [(kill.stage, kill.kind) for kill in campaign.unspent]
        check(campaign, reference)
        assert verdict(campaign.out) == verdict(reference.out) != []
    print(f"\n{part}, all:\n{figures(campaigns)}")
    assert sum(len(campaign.kills) for campaign in campaigns) >= 8


@pytest.mark.long
def test_evidence_is_gathered_as_if_nothing_had_been_killed(undisturbed, tmp_path):
    reference, spans = undisturbed()
    few = ("--levels", "3", "--points", "3", "--images", "16", "--autoattack-images", "0")
    command = ("tuner", "evidence", "chaos.yaml", *few)
    places = [place(tmp_path / name) for name in ("once", "killed")]
    places = [replace(where, command=command) for where in places]
    for where in places:
        shutil.copytree(reference.place.root, where.root)
    once, rng = Campaign(places[0], random.Random(0)).run([]), random.Random(SEED)
    spans = {**spans, "evidence": (places[1].done(), places[0].done())}
    wanted = [("evidence", kind) for kind in ("task", "driver", "raylet", "task", "driver")]
    campaign = Campaign(places[1], rng).run(draw(rng, wanted, spans))
    print(f"\nevidence:\n{figures([campaign])}")
    assert len(campaign.kills) >= 3
    check(campaign, once)
