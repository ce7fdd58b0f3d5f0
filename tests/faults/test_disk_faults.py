"""Full, read-only, vanishing and lying disks: no partial result, none used that is damaged, and run
again, the same bytes."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
import torch

from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket, Transfer
from tests.support import storage
from tests.support.faulty_storage import faulty
from tests.support.small_disk import filled, small_disk
from tests.support.studies import tiny
from trainables.jobs import theta, transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store import ledger
from trainables.store.checkpoints import TrainingCheckpoint
from trainables.store.ledger import DamagedError, open_ledger
from trainables.training.loop import Progress
from trainables.training.ranks import Shard
from tuner.scheduling.worklist import worklist
from tuner.storage.integrity import on_sound_storage, set_damaged_aside

RECIPE = "{epochs: 2, batch_size: 32, lr: 0.05}"
STUDY = tiny(
    "source.dataset={name: digits, size: 8, limit: 64}",
    "source.model.width=2",
    f"source.pretrainings.standard.train.recipe={RECIPE}",
    f"pruning={{imp: {{method: imp, rounds: 2, retraining: {{recipe: {RECIPE}}}}}}}",
    "downstream.0.dataset={name: mnist-mini, size: 8, limit: 64}",
    "downstream.0.levels=[0,2]",
    "downstream.0.seeds=[0]",
    f"downstream.0.regimes={{standard: {{recipe: {RECIPE}}}}}",
    "evaluation.attack={kind: pgd, steps: 1, epsilon: 0.1, alpha: 0.1}",
)
SPEC = grid.thetas(STUDY)[0].theta
FILES = {"weights.safetensors": bytes(range(256)) * 40, "small.bin": b"x"}
RESULT = {"state": "complete", "test": {"sa": 0.5}}


@pytest.fixture(autouse=True)
def _kept_after_every_epoch(monkeypatch):
    for module in (theta, transfer):
        monkeypatch.setattr(
            module,
            "TrainingCheckpoint",
            lambda path, writes=True: TrainingCheckpoint(path, 0, writes),
            raising=True,
        )


def work(root):
    """All of the study, in this process."""
    worker = Worker(open_ledger(root), Shard(), torch.device("cpu"))
    list(run_chain(Chain(theta=SPEC, plans=tuple(STUDY.pruning.values())), worker))
    for cell in grid.transfers(STUDY):
        if not worker.ledger.has(cell.transfer):
            task = transfer.prepare(cell.transfer, worker.ledger, worker.device)
            assert list(transfer.run(task, worker.ledger))[-1]["ends"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(root, operations) of a study without faults."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("whole") / "results"
    open_ledger(root)
    with pytest.MonkeyPatch.context() as patch, faulty(root) as plan:
        for module in (theta, transfer):
            patch.setattr(
                module,
                "TrainingCheckpoint",
                lambda path, writes=True: TrainingCheckpoint(path, 0, writes),
            )
        work(root)
    return root, plan.seen


def assert_whole(root):
    """Whatever the ledger shows is what was written."""
    there = open_ledger(root)
    for kind in (Theta, Ticket, Transfer):
        specs = list(there.all(kind))
        assert {key(spec) for spec in specs} == there.keys(kind)
        assert [there.set_aside_if_damaged(spec) for spec in specs] == [None] * len(specs)


def written(root):
    open_ledger(root).write(SPEC, RESULT, FILES)
    return {path.name: path.read_bytes() for path in open_ledger(root).folder(SPEC).iterdir()}


def operations(root):
    there = open_ledger(root)
    with faulty(root) as plan:
        there.write(SPEC, RESULT, FILES)
    return plan.seen


def test_the_layer_sees_what_a_write_does(tmp_path):
    kinds = [what for what, _ in operations(tmp_path)]
    one_file = ["open", "write", "fsync"]
    assert kinds == ["mkdir", *5 * one_file, "rename"]


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_whatever_fails_in_a_write_there_is_no_partial_result(tmp_path, number, lasting):
    expected = written(tmp_path / "whole")
    for at in range(len(operations(tmp_path / "count"))):
        root = tmp_path / str(at)
        there = open_ledger(root)
        with faulty(root, at=at, number=number, lasting=lasting) as plan:
            with pytest.raises(OSError, match=os.strerror(number)):
                there.write(SPEC, RESULT, FILES)
            assert plan.fired
        assert not there.has(SPEC)
        assert list((root / "thetas").iterdir()) == []
        assert written(root) == expected


def test_a_short_write_is_completed(tmp_path):
    expected = written(tmp_path / "whole")
    for at in range(len(operations(tmp_path / "count")) - 1):
        root = tmp_path / str(at)
        there = open_ledger(root)
        with faulty(root, at=at, kind="short") as plan:
            there.write(SPEC, RESULT, FILES)
        assert plan.fired or at > plan.seen.index(("write", plan.seen[-3][1]))
        assert {p.name: p.read_bytes() for p in there.folder(SPEC).iterdir()} == expected


def test_what_a_disk_wrote_wrongly_in_silence_is_found_and_set_aside(tmp_path):
    expected = written(tmp_path / "whole")
    writes = [n for n, (what, _) in enumerate(operations(tmp_path / "count")) if what == "write"]
    for at in writes:
        root = tmp_path / str(at)
        there = open_ledger(root)
        with faulty(root, at=at, kind="flip") as plan:
            there.write(SPEC, RESULT, FILES)
        name = Path(plan.seen[at][1]).name
        reason = there.set_aside_if_damaged(SPEC)
        assert reason is not None and (name in reason or name == "SHA256SUMS")
        assert not there.has(SPEC) and written(root) == expected


def test_progress_that_cannot_be_kept_leaves_the_earlier(tmp_path):
    tensors = {"w": torch.arange(4000.0)}
    states = [Progress(epoch, tensors, {}, None, (), None) for epoch in (1, 2)]
    with faulty(tmp_path) as plan:
        TrainingCheckpoint(tmp_path / "count").save(states[0], [])
    for at in range(len(plan.seen)):
        checkpoint = TrainingCheckpoint(tmp_path / f"{at}.progress")
        checkpoint.save(states[0], [{"number": 1}])
        with faulty(tmp_path, at=at), pytest.raises(OSError, match="No space"):
            checkpoint.save(states[1], [{"number": 1}, {"number": 2}])
        progress, records = checkpoint.load()
        assert (progress.epoch, records) == (1, [{"number": 1}])
        assert {path.suffix for path in tmp_path.iterdir()} <= {".progress", ""}
        with faulty(tmp_path, at=at, kind="short"):
            checkpoint.save(states[1], [])
        assert checkpoint.load()[0].epoch == 2


def test_a_training_goes_on_though_its_progress_cannot_be_kept(tmp_path, undisturbed, capsys):
    root = tmp_path / "results"
    (open_ledger(root).root / "unfinished").rmdir()
    worker = Worker(ledger.Ledger(root), Shard(), torch.device("cpu"))
    list(run_chain(Chain(theta=SPEC, plans=()), worker))
    assert "not kept: No such file or directory" in capsys.readouterr().err
    name = f"thetas/{key(SPEC)}/weights.safetensors"
    assert storage.comparable(root)[name] == storage.comparable(undisturbed[0])[name]


POINTS = 8


def failure(run):
    """What it raised; empty if it did not."""
    try:
        run()
    except (OSError, InputError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("part", range(POINTS))
def test_whatever_fails_in_a_study_a_rerun_gives_the_same_bytes(tmp_path, undisturbed, part):
    root, (whole, seen) = tmp_path / "results", undisturbed
    open_ledger(root)
    at = part * len(seen) // POINTS + part % 3  # at every kind of operation
    with faulty(root, at=at, lasting=part % 2 == 1) as plan:
        why = failure(lambda: work(root))
    assert plan.fired
    # Folders are there already, and a training whose progress cannot be kept goes on.
    if plan.seen[at][1].split("/")[0] in ("thetas", "tickets", "transfers") and at > 6:
        assert "No space left on device" in why
    assert_whole(root)
    before = storage.comparable(root)
    work(root)
    assert storage.comparable(root) == storage.comparable(whole)
    assert before.items() <= storage.comparable(root).items()
    assert not list((root / "unfinished").iterdir())


@pytest.mark.parametrize("part", [0, POINTS - 1])
def test_a_storage_that_vanishes_is_not_made_anew(tmp_path, undisturbed, part):
    """Its disk is gone, its mount point stays: what went there would be lost to the study."""
    root, aside, (whole, seen) = tmp_path / "results", tmp_path / "disk", undisturbed
    there = open_ledger(root)

    def vanish():
        root.rename(aside)
        root.mkdir()

    opening = next(n for n, (_, path) in enumerate(seen) if path.startswith("unfinished/")) + 3
    at = part * (len(seen) - opening) // POINTS
    with faulty(root, at=at, kind="call", action=vanish):
        with pytest.raises(OSError, match="No such file") as caught:
            work_in(there)
        assert there.fault() == "No such file or directory"
        with pytest.raises(InputError) as refused, on_sound_storage(there):
            raise caught.value
    assert str(root) in str(refused.value) and "No such file or directory" in str(refused.value)
    assert list(root.iterdir()) == []
    root.rmdir()
    aside.rename(root)
    assert_whole(root)
    work(root)
    assert storage.comparable(root) == storage.comparable(whole)


def work_in(there):
    """As `work`, in a ledger that is open already."""
    worker = Worker(there, Shard(), torch.device("cpu"))
    list(run_chain(Chain(theta=SPEC, plans=tuple(STUDY.pruning.values())), worker))
    for cell in grid.transfers(STUDY):
        task = transfer.prepare(cell.transfer, there, worker.device)
        list(transfer.run(task, there))


@pytest.fixture
def damaged(tmp_path, undisturbed):
    """A copy of the finished study."""
    root = tmp_path / "results"
    subprocess.run(["cp", "-r", undisturbed[0], root], check=True)
    return open_ledger(root)


HARM = {
    "flipped": lambda content: content[:-9] + bytes([content[-9] ^ 16]) + content[-8:],
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\n",
}
USED = {  # file -> (its spec, what a run reads it by)
    "weights.safetensors": (
        SPEC,
        lambda there: list(
            run_chain(
                Chain(theta=SPEC, plans=tuple(STUDY.pruning.values())),
                Worker(there, Shard(), torch.device("cpu")),
            )
        ),
    ),
    "mask.safetensors": (
        grid.tickets(STUDY)[1].ticket,
        lambda there: transfer.prepare(
            grid.transfers(STUDY)[1].transfer, there, torch.device("cpu")
        ),
    ),
    "correct.safetensors": (
        grid.transfers(STUDY)[0].transfer,
        lambda there: there.correct(grid.transfers(STUDY)[0].transfer),
    ),
    "result.json": (
        grid.transfers(STUDY)[0].transfer,
        lambda there: there.result(grid.transfers(STUDY)[0].transfer),
    ),
}


@pytest.mark.parametrize(("name", "harm"), zip(USED, HARM.values(), strict=True), ids=USED)
def test_a_damaged_file_is_never_used_and_is_computed_again(damaged, undisturbed, name, harm):
    spec, use = USED[name]
    path = damaged.folder(spec) / name
    path.write_bytes(harm(path.read_bytes()))
    if name == "weights.safetensors":  # so that there is something left to be made of it
        subprocess.run(["rm", "-r", damaged.folder(grid.tickets(STUDY)[0].ticket)], check=True)
    with pytest.raises((DamagedError, InputError), match=name):
        use(damaged)
    (line,) = set_damaged_aside(worklist(STUDY, damaged).finished, damaged)
    assert str(path.parent) in line and name in line
    work(damaged.root)
    assert storage.comparable(damaged.root) == storage.comparable(undisturbed[0])


@pytest.mark.parametrize("harm", [HARM["flipped"], HARM["empty"]], ids=["flipped", "empty"])
def test_a_damaged_progress_file_starts_its_training_anew(tmp_path, undisturbed, capsys, harm):
    root, seen = tmp_path / "results", undisturbed[1]
    open_ledger(root)
    # The disk fails while theta's result is written: its progress is there.
    at = next(n for n, (what, path) in enumerate(seen) if path.startswith("thetas/"))
    with faulty(root, at=at, lasting=True), pytest.raises(OSError, match="No space"):
        work(root)
    path = open_ledger(root).unfinished(SPEC)
    path.write_bytes(harm(path.read_bytes()))
    work(root)
    assert f"{path}: damaged; its training starts anew" in capsys.readouterr().err
    assert path.with_suffix(".damaged").exists()
    assert storage.comparable(root) == storage.comparable(undisturbed[0])


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "2m") as place:
        yield place


def test_a_disk_that_is_really_full(disk, undisturbed):
    root = disk / "results"
    there = open_ledger(root)
    filler = filled(disk, leave=6 * 4096)
    with pytest.raises(OSError, match="No space left on device"):
        work_in(there)
    assert not list(root.glob("*s/.*"))
    assert there.set_aside_if_damaged(SPEC) is None  # There was just room for that.
    assert there.fault() == "No space left on device"
    with pytest.raises(InputError) as caught:
        open_ledger(root)
    assert str(root) in str(caught.value) and "--storage" in str(caught.value)
    filler.unlink()
    assert there.fault() is None
    work(root)
    assert storage.comparable(root) == storage.comparable(undisturbed[0])


def test_a_disk_that_is_really_read_only(disk):
    there = open_ledger(disk / "results")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert there.fault() == "Read-only file system"
    with pytest.raises(OSError, match="Read-only"):
        there.write(SPEC, RESULT, FILES)
    with pytest.raises(InputError, match="Read-only file system"):
        open_ledger(disk / "results")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    there.write(SPEC, RESULT, FILES)
    assert there.set_aside_if_damaged(SPEC) is None


def test_a_search_takes_damage_for_no_finding_about_a_recipe(damaged):
    """A theta whose bytes have changed says nothing of the recipe that was to train it."""
    from search_spaces.trials import Trial
    from trainables.jobs import search_trial

    like = grid.transfers(STUDY)[0].transfer
    trial = Trial(
        ticket=grid.tickets(STUDY)[0].ticket,
        **{name: getattr(like, name) for name in ("dataset", "fraction", "subset", "regime")},
        validation=like.evaluation.attack,
        protocol="plain",
        seeds=(0,),
    )
    path = damaged.folder(SPEC) / "weights.safetensors"
    path.write_bytes(HARM["flipped"](path.read_bytes()))
    config = {"trial": trial.model_dump_json(), "storage": str(damaged.root)}
    with pytest.raises(DamagedError, match="weights"):
        search_trial.search_trial(config)
    assert not damaged.has(trial)
