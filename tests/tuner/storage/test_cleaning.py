"""clean removes what nothing will read again, and nothing else."""

import os
import time
from functools import partial

import pytest

from search_spaces import grid
from search_spaces.errors import InputError
from tests.support import made_up, studies
from trainables.store.ledger import open_ledger
from tuner.runtime.console import volume
from tuner.runtime.lock import only_run
from tuner.storage import cleaning, failures
from tuner.storage.entries import transfer_entry

OTHER = "0123456789abcdef"
"""The key of an unfinished training of a study that is not known here."""


@pytest.fixture(scope="module")
def study():
    return made_up.study()


@pytest.fixture
def ledger(study, tmp_path):
    """A storage with finished and unfinished work, and remains of every kind."""
    ledger = open_ledger(tmp_path / "results")
    made_up.write_source(study, ledger)
    done, missing, broken, *_ = grid.transfers(study)
    made_up.write_transfers(ledger, [done, broken])
    (ledger.folder(broken.transfer) / "result.json").write_bytes(b"x" * 1000)
    assert ledger.set_aside_if_damaged(broken.transfer)
    why = failures.FailureReason("ValueError: boom", "boom" * 100, outside=False)
    for cell in (done, missing):
        failures.record(ledger, transfer_entry(cell), study.name, why)
    unfinished = ledger.root / "unfinished"
    written(unfinished / f"{done.key}.progress", 5000)
    written(unfinished / f"{missing.key}.progress", 7000)
    written(unfinished / f"{OTHER}.progress", 11000)
    written(unfinished / f"{OTHER}.damaged", 300)
    written(unfinished / f".{OTHER}.progress.abcdef03", 200, old=True)
    written(unfinished / f".{OTHER}.progress.abcdef04", 200)
    written(ledger.root / "transfers" / f".{OTHER}.abcdef01" / "result.json", 40, old=True)
    written(ledger.root / "tickets" / f".{OTHER}.abcdef02" / "mask.safetensors", 40)
    written(ledger.root / "ray" / "transfers-1234" / "trial" / "error.pkl", 60)
    return ledger


def written(path, size, old=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    if old:
        long_ago = time.time() - 2 * cleaning.RECENT
        os.utime(path, (long_ago, long_ago))
        if path.parent.name.startswith("."):
            os.utime(path.parent, (long_ago, long_ago))


def files(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*.*")
        if path.is_file()
    }


@pytest.fixture
def clean(study, ledger, monkeypatch, tuner):
    """Runs `python -m tuner clean made-up.yaml ARGUMENTS`; gives exit code, output, errors."""
    monkeypatch.chdir(ledger.root.parent)
    studies.write(study, ledger.root.parent)
    return partial(tuner, "clean", "made-up.yaml")


def test_every_kind_is_found_and_measured(ledger, study):
    done, missing, broken, *_ = grid.transfers(study)
    found = {kind.what: kind for kind in cleaning.remains(ledger)}
    names = {what: [path.name for path in kind.paths] for what, kind in found.items()}
    assert names["progress of finished trainings"] == [f"{done.key}.progress"]
    aside, progress = names["damaged results and progress, set aside"]
    assert aside.startswith(f"transfers-{broken.key}-") and progress == f"{OTHER}.damaged"
    temporary = names["temporary files of writers that died"]
    assert temporary == [f".{OTHER}.abcdef01", f".{OTHER}.progress.abcdef03"]
    assert names["working folders of runs that died"] == ["transfers-1234"]
    mended = names["records of failures that are mended"]
    assert mended == [f"{done.key}.json", f"{done.key}.txt"]
    assert len(found) == 5
    assert found["progress of finished trainings"].size == 5000
    assert found["temporary files of writers that died"].size == 240
    assert found["working folders of runs that died"].size == 60
    stays = {path.stem for path in cleaning.kept(ledger)}
    assert stays == {missing.key, OTHER}


def test_only_what_may_go_goes(ledger):
    before = files(ledger.root)
    found = cleaning.remains(ledger)
    gone = {str(p.relative_to(ledger.root)) for kind in found for p in kind.paths}
    assert cleaning.remove(found) == sum(kind.size for kind in found) > 0
    assert cleaning.remains(ledger) == []
    after = files(ledger.root)
    assert after == {
        name: content
        for name, content in before.items()
        if not any(name == path or name.startswith(f"{path}/") for path in gone)
    }
    assert len(after) < len(before)


def test_nothing_is_removed_unasked(clean, ledger):
    before = files(ledger.root)
    code, out, err = clean()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "nothing removed yet: --yes removes these"
    assert "2 unfinished trainings (1 of made-up; 18 kB)" in out
    assert files(ledger.root) == before


def test_yes_removes_and_says_how_much(clean, ledger):
    size = sum(kind.size for kind in cleaning.remains(ledger))
    code, out, err = clean("--yes")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"removed: {volume(size)}"
    assert cleaning.remains(ledger) == []
    code, out, _ = clean("--yes")
    assert code == 0 and "removed" not in out


def test_while_a_run_works_nothing_is_cleaned(clean, ledger):
    with only_run(ledger.root, "another"):
        code, out, err = clean("--yes")
    assert (code, out) == (2, "")
    assert f"study another (process {os.getpid()}" in err and "when no run works on it" in err
    cleaning.check_idle(ledger.root)


def test_what_cannot_be_removed_is_named(ledger, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cleaning.shutil, "rmtree", refuse)
    with pytest.raises(InputError, match="cannot be removed: Permission denied"):
        cleaning.remove(cleaning.remains(ledger))


def test_a_fresh_storage_has_no_remains_and_a_missing_one_is_named(clean, tmp_path):
    ledger = open_ledger(tmp_path / "fresh")
    assert cleaning.remains(ledger) == [] and cleaning.kept(ledger) == []
    code, out, err = clean("--storage", "nowhere", "--yes")
    assert (code, out) == (2, "") and err.startswith("error: storage ")
    assert "nowhere: cannot be written (No such file or directory): choose another" in err
    assert not (tmp_path / "nowhere").exists()


def test_folders_of_dead_runs_go_by_themselves_unless_another_run_works_there(ledger):
    with only_run(ledger.root, "made-up"), only_run(ledger.root, "another"):
        cleaning.sweep(ledger.root)
        assert (ledger.root / "ray" / "transfers-1234").exists()
    before = files(ledger.root)
    with only_run(ledger.root, "made-up"):
        cleaning.sweep(ledger.root)
    assert before.keys() - files(ledger.root).keys() == {"ray/transfers-1234/trial/error.pkl"}
