"""Studies of one name that differ in content: each has a record of its own in MLflow.

One store is led through five concluded versions, for a conclusion takes seconds; what it holds
after each is looked at.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.store import artifacts, load
from search_spaces import grid
from search_spaces.errors import InputError
from tests.support import made_up, studies
from tests.support.mlflow_store import empty_store
from trainables.store.ledger import open_ledger
from tuner.commands.sync import sync_study
from tuner.runtime.settings import Origin, Settings
from tuner.scheduling.worklist import worklist
from tuner.tracking import backend, notes, opening
from tuner.tracking.cards import BY_PAPER

MODEL = "made-up-standard-digits"
STUDY = made_up.study()


def variant(**task):
    """The study with other fields of its downstream task."""
    (own,) = STUDY.downstream
    return STUDY.model_copy(update={"downstream": (own.model_copy(update=task),)})


HALF = variant(seeds=(0,))
LOSING = variant(levels=(0, 3))
UNFINISHED = variant(levels=(0, 1), seeds=(0, 1, 2))
"""Its third seed is not there; level 1 would win."""


@dataclass(frozen=True)
class Seen:
    """What the store holds: the version that readers take, the level that the alias is on, and the
    record of the first version."""

    taken: str
    title: str
    alias: str
    first: Any


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    ledger = open_ledger(folder / "results")
    made_up.write_source(STUDY, ledger)
    made_up.write_transfers(ledger, grid.transfers(STUDY))
    empty_store(folder)
    return folder


@pytest.fixture(scope="module")
def seen(folder):
    """The store after each sync."""
    settings = Settings(storage=folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        found = []
        for study in (STUDY, HALF, LOSING, UNFINISHED, STUDY):
            sync_study(study, settings, Origin("made-up.yaml"))
            found.append(look())
        return found


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    enter(folder, monkeypatch)


def enter(folder, patch):
    patch.chdir(folder)
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")


def look():
    taken = load.load("made-up")
    alias = backend.connect().get_model_version_by_alias(MODEL, BY_PAPER).tags["level"]
    return Seen(taken.version.digest, taken.title, alias, record(STUDY))


def record(study):
    """A version's run, its files, its description and its duration."""
    parent = load.load(f"made-up@{study.version}").parent
    uri = f"sqlite:///{Path.cwd()}/mlflow.db"
    names = ("study.yaml", "verdict/verdict.txt", "verdict/one_std.json", "correct.npz")
    files = {name: artifacts.read(parent, name, uri) for name in names}
    about = parent.tags[notes.NOTE].partition(" This is ")[0]
    return parent.run_id, files, about.partition("\n")[0], parent.start_time, parent.end_time


def test_what_differs_in_content_has_a_record_of_its_own(seen):
    assert seen[0].first == seen[1].first == seen[2].first == seen[3].first
    assert load.load(f"made-up@{HALF.version}").study.downstream[0].seeds == (0,)
    assert load.load(f"made-up@{STUDY.version}").study == STUDY
    first, half = record(STUDY), record(HALF)
    assert first[0] != half[0] and b"2 seeds" in first[1]["verdict/verdict.txt"]
    assert first[1]["verdict/verdict.txt"] != half[1]["verdict/verdict.txt"]


def test_a_version_run_again_keeps_its_run(seen):
    assert seen[4].first[0] == seen[0].first[0]
    assert len({version.run.run_id for version in load.load("made-up").versions}) == 4


def test_the_alias_survives_versions_that_show_less(seen):
    """A complete one without a winner, and one that is not complete."""
    assert [each.alias for each in seen] == ["2"] * 5


def test_readers_take_the_latest_complete_version(seen):
    taken = [each.taken for each in seen]
    assert taken == [study.version for study in (STUDY, HALF, LOSING, LOSING, STUDY)]


def test_a_lone_version_goes_by_the_study_s_name_and_several_by_their_digests(seen):
    assert [each.title for each in seen[:2]] == ["made-up", f"made-up@{HALF.version}"]
    names = {f"made-up@{study.version}" for study in (STUDY, HALF, LOSING, UNFINISHED)}
    assert {version.run.name for version in load.load("made-up").versions} == names
    note = backend.connect().get_experiment_by_name("made-up").tags[notes.NOTE]
    assert all(f"[{name}]" in note for name in names) and "`downstream.0.seeds=[0]`" in note


def test_readers_are_told_of_the_others_unless_they_say_which(seen, analysis):
    ended = analysis("trials", "--study", "made-up")
    assert ended.code == 0 and f"this is made-up@{STUDY.version}" in ended.err
    assert f"made-up@{HALF.version} (complete)" in ended.err
    assert f"made-up@{UNFINISHED.version} (incomplete)" in ended.err
    told = analysis("trials", "--study", f"made-up@{HALF.version[:4]}")
    assert (told.code, told.err, len(told.out.splitlines())) == (0, "", 11)
    with pytest.raises(InputError, match=f"no such version: there are .*{HALF.version}"):
        load.load("made-up@nothing")


def test_what_versions_share_is_one_run_that_names_them(seen):
    client = backend.connect()
    number = client.get_experiment_by_name("made-up").experiment_id
    children = client.search_runs([number], "tags.stage != 'study'")
    assert Counter(run.data.tags["key"] for run in children) == Counter(grid.expand(STUDY).keys)
    half = client.search_runs([number], f"tags.versions LIKE '%{HALF.version}%'")
    assert {run.data.tags["key"] for run in half} == grid.expand(HALF).keys


def test_the_duration_is_that_of_the_trainings(seen):
    *_, started, ended = record(STUDY)
    assert (started, ended) == (1000 * made_up.WHERE["started"], 1000 * made_up.WHERE["ended"])


def test_status_says_that_mlflow_has_other_versions(seen, folder, tuner):
    studies.write(STUDY, folder)
    shown = tuner("status", "made-up.yaml", "--set", "downstream.0.seeds=[1]").out
    assert "version: made-up@" in shown and f"made-up@{HALF.version} (complete)" in shown


def test_the_run_of_an_earlier_release_is_taken_up(seen, folder):
    """It has no tags of versions, and neither have those below it."""
    client, parent = backend.connect(), load.load(f"made-up@{HALF.version}").parent
    for tag in ("version", "concluded"):
        client.delete_tag(parent.run_id, tag)
    assert load.load(f"made-up@{HALF.version}").parent.run_id == parent.run_id
    tracker = opening.open_tracker(client, worklist(HALF, open_ledger(folder / "results")), "it")
    assert tracker.parent == parent.run_id
    tracker.leave()
    assert load.load(f"made-up@{HALF.version}").parent.tags["version"] == HALF.version
