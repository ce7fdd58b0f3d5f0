"""The ledger: whole results or none, under the key of their spec."""

import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket, Transfer
from trainables.store import atomic
from trainables.store import ledger as ledger_module
from trainables.store.ledger import Ledger, open_ledger

REGIME = {"recipe": {"epochs": 1, "lr": 0.1}}
EVALUATION = {"attack": {"kind": "pgd", "epsilon": 0.1, "alpha": 0.05}}
DIGITS = {"name": "digits", "size": 16}
THETA = Theta(
    dataset=DIGITS, model={"arch": "resnet8"}, pretraining={"train": REGIME}, evaluation=EVALUATION
)
TICKET = Ticket(theta=THETA, pruning={"method": "random"}, level=2)
TRANSFER = Transfer(ticket=TICKET, dataset=DIGITS, regime=REGIME, evaluation=EVALUATION, seed=0)
FILES = {"weights.bin": b"\x00\x01\x02", "mask.bin": b"\xff"}


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return open_ledger(tmp_path / "results")


def everything(root):
    """Every file and folder below the kinds' folders, hidden ones as well."""
    return sorted(str(path.relative_to(root)) for path in root.glob("*/**/*"))


@pytest.mark.parametrize(
    ("spec", "kind"), [(THETA, "thetas"), (TICKET, "tickets"), (TRANSFER, "transfers")]
)
def test_round_trip(ledger, spec, kind):
    assert not ledger.has(spec)
    ledger.write(spec, {"test": {"sa": 0.5}, "state": "complete"}, FILES)
    assert ledger.has(spec)
    assert ledger.result(spec) == {"test": {"sa": 0.5}, "state": "complete"}
    folder = ledger.folder(spec)
    assert folder == ledger.root / kind / key(spec)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert type(spec).model_validate_json((folder / "spec.json").read_text()) == spec


def test_files_have_the_users_own_rights(tmp_path):
    before = os.umask(0o027)
    try:
        open_ledger(tmp_path / "results").write(THETA, {"state": "complete"}, FILES)
    finally:
        os.umask(before)
    for path in (tmp_path / "results").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_results_are_found_by_content(ledger):
    ledger.write(TRANSFER, {}, {})
    assert ledger.has(Transfer.model_validate(TRANSFER.model_dump()))
    assert not ledger.has(TRANSFER.model_copy(update={"seed": 1}))
    assert not ledger.has(TICKET)
    assert not ledger.has(THETA)


def test_a_missing_result_is_no_result(ledger):
    with pytest.raises(FileNotFoundError):
        ledger.result(TICKET)


def test_only_the_whole_result_is_left(ledger):
    ledger.write(TICKET, {"kept": 3}, FILES)
    folder = f"tickets/{key(TICKET)}"
    names = ["SHA256SUMS", "mask.bin", "result.json", "spec.json", "weights.bin"]
    assert everything(ledger.root) == [folder, *(f"{folder}/{name}" for name in names)]


def test_nothing_is_seen_before_it_is_whole(ledger, monkeypatch):
    seen = []
    rename, write = os.rename, atomic.flushed

    def watched_write(path, content):
        write(path, content)
        seen.append((path.name, ledger.has(TICKET)))

    def watched_rename(source, target):
        seen.append(("rename", ledger.has(TICKET)))
        rename(source, target)

    monkeypatch.setattr(atomic, "flushed", watched_write)
    monkeypatch.setattr(os, "rename", watched_rename)
    ledger.write(TICKET, {}, FILES)
    names = {"weights.bin", "mask.bin", "spec.json", "result.json", "SHA256SUMS", "rename"}
    assert {name for name, _ in seen} == names
    assert seen[-1][0] == "rename"
    assert not any(visible for _, visible in seen)
    assert ledger.has(TICKET)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["rename", "result.json", "weights.bin"])
def test_a_failed_write_leaves_nothing(ledger, monkeypatch, error, where):
    write = atomic.flushed

    def fail(*_):
        raise error

    def failing_write(path, content):
        write(path, content[:1])
        if path.name == where:
            raise error

    with monkeypatch.context() as broken:
        if where == "rename":
            broken.setattr(os, "rename", fail)
        else:
            broken.setattr(atomic, "flushed", failing_write)
        with pytest.raises(type(error)):
            ledger.write(TICKET, {}, FILES)
    assert not ledger.has(TICKET)
    assert everything(ledger.root) == []
    ledger.write(TICKET, {"state": "complete"}, FILES)
    assert ledger.result(TICKET) == {"state": "complete"}


def test_a_result_that_is_no_json_leaves_nothing(ledger):
    with pytest.raises(TypeError):
        ledger.write(TICKET, {"state": object()}, FILES)
    assert everything(ledger.root) == []


def test_a_second_write_leaves_the_first(ledger):
    ledger.write(TICKET, {"writer": 1}, {"weights.bin": b"1"})
    ledger.write(TICKET, {"writer": 2}, {"weights.bin": b"2", "more.bin": b"2"})
    assert ledger.result(TICKET) == {"writer": 1}
    folder = ledger.folder(TICKET)
    assert (folder / "weights.bin").read_bytes() == b"1"
    assert not (folder / "more.bin").exists()


def test_a_writer_that_comes_second_gives_way(ledger, monkeypatch):
    """Both found nothing there and wrote; the other one's rename came first."""
    rename = os.rename

    def late(source, target):
        monkeypatch.setattr(os, "rename", rename)
        ledger.write(TICKET, {"writer": "other"}, FILES)
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    ledger.write(TICKET, {"writer": "late"}, FILES)
    assert ledger.result(TICKET) == {"writer": "other"}
    assert [path.name for path in (ledger.root / "tickets").iterdir()] == [key(TICKET)]


def test_concurrent_writers_leave_one_whole_result(ledger):
    writers = 8
    start = Barrier(writers)

    def write(number):
        content = bytes([number]) * 4096
        start.wait()
        ledger.write(TICKET, {"writer": number}, {"a.bin": content, "b.bin": content})

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    assert [path.name for path in (ledger.root / "tickets").iterdir()] == [key(TICKET)]
    folder = ledger.folder(TICKET)
    winner = bytes([ledger.result(TICKET)["writer"]]) * 4096
    assert (folder / "a.bin").read_bytes() == (folder / "b.bin").read_bytes() == winner
    names = {path.name for path in folder.iterdir()}
    assert names == {"a.bin", "b.bin", "spec.json", "result.json", "SHA256SUMS"}


def test_opening_twice_keeps_what_is_there(tmp_path):
    open_ledger(tmp_path / "deep" / "results").write(THETA, {"state": "complete"}, {})
    again = open_ledger(tmp_path / "deep" / "results")
    assert again.result(THETA) == {"state": "complete"}
    kinds = {"thetas", "tickets", "transfers", "weights", "trials", "evidence", "unfinished"}
    assert {path.name for path in again.root.iterdir()} == kinds


def test_workers_in_other_folders_find_the_ledger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_ledger(ledger_module.Path("results")).root == tmp_path / "results"


@pytest.mark.parametrize("root", ["file", "file/results", "results"])
def test_a_file_in_the_way_is_told_in_one_line(tmp_path, root):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tickets").write_text("mine")
    with pytest.raises(InputError) as caught:
        open_ledger(tmp_path / root)
    message = str(caught.value)
    assert message.startswith(f"storage {tmp_path / root}: cannot be written (")
    assert message.endswith("choose another --storage")
    assert message.splitlines() == [message]
    assert (tmp_path / "file").read_text() == "mine"


def test_the_sums_are_those_of_sha256sum(ledger):
    ledger.write(TICKET, {"kept": 3}, FILES)
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=ledger.folder(TICKET), capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("OK")) == (0, len(FILES) + 2)
    assert ledger.set_aside_if_damaged(TICKET) is None
    assert ledger.file(TICKET, "mask.bin").read_bytes() == FILES["mask.bin"]


@pytest.mark.parametrize(
    "name", ["weights.bin", "mask.bin", "spec.json", "result.json", "SHA256SUMS"]
)
@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_damage_is_seen_named_and_set_aside(ledger, name, how):
    ledger.write(TICKET, {"kept": 3}, FILES)
    path = ledger.folder(TICKET) / name
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    elif how == "truncate":
        path.write_bytes(bytes(content[: len(content) // 2]))
    else:
        path.unlink()
    if name != "SHA256SUMS":
        with pytest.raises(ledger_module.DamagedError, match=name):
            ledger.file(TICKET, name)
    reason = ledger.set_aside_if_damaged(TICKET)
    assert reason is not None
    assert str(ledger.folder(TICKET)) in reason
    assert not ledger.has(TICKET)
    assert len(list((ledger.root / "damaged").iterdir())) == 1
    ledger.write(TICKET, {"kept": 3}, FILES)
    assert ledger.set_aside_if_damaged(TICKET) is None
