"""What others can reach, see or plant: nothing outside loopback, no secret, no file elsewhere."""

import base64
import io
import os
import stat
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from torchvision.datasets.utils import extract_archive

from analysis.store.disclosure import public, signed_in, without_secrets
from search_spaces.errors import InputError
from search_spaces.spec import Dataset, Model, Pretraining, Theta
from tests.support.paths import ROOT
from trainables.store.ledger import open_ledger
from tuner import cli
from tuner.cluster import connection
from tuner.storage import fetching
from tuner.tracking import store as tracking_store


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 4 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "planted",
    [
        [member("../outside")],
        [member("inside/../../outside")],
        [member("link", tarfile.SYMTYPE, "..")],
        [member("link", tarfile.SYMTYPE, "/tmp")],
        [member("hard", tarfile.LNKTYPE, "../secret")],
        [member("pipe", tarfile.FIFOTYPE)],
    ],
    ids=lambda members: members[0].name + members[0].linkname,
)
def test_archives_write_nothing_outside_their_folder(planted, tmp_path):
    (tmp_path / "secret").write_text("mine")
    archive = tmp_path / "set.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for info in planted:
            file.addfile(info, io.BytesIO(b"evil"))
    refusal = pytest.raises(InputError, match=r"cannot fetch set.tar.gz .*download https://there")
    with refusal, fetching._remedied("https://there/set", archive):
        extract_archive(str(archive), str(tmp_path / "data"))
    assert sorted(os.listdir(tmp_path)) in (
        ["secret", archive.name],
        ["data", "secret", archive.name],
    )
    assert (tmp_path / "secret").read_text() == "mine"
    left = list((tmp_path / "data").rglob("*")) if (tmp_path / "data").exists() else []
    assert left == []


def test_an_absolute_path_in_an_archive_stays_below_its_folder(tmp_path):
    archive = tmp_path / "set.tar.gz"
    outside = tmp_path / "outside"
    with tarfile.open(archive, "w:gz") as file:
        file.addfile(member(str(outside)), io.BytesIO(b"evil"))
    with fetching._remedied("https://there/set", archive):
        extract_archive(str(archive), str(tmp_path / "data"))
    assert not outside.exists()
    assert tarfile.TarFile.extraction_filter is None, "as it was before"


def test_the_ui_listens_on_loopback_and_shows_no_password(tmp_path, monkeypatch, capsys):
    uri = "postgresql://me:hidden@db/runs?password=hidden"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(sys, "argv", ["tuner", "ui"])
    monkeypatch.setattr(tracking_store, "connect", lambda: None)
    started = []
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    with pytest.raises(SystemExit):
        cli.main()
    ((_, command, environment),) = started
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert not any("hidden" in word for word in command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    said = "MLflow UI for postgresql://db/runs: http://127.0.0.1:5000/"
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET http://me:hid@den@host:1/api failed", "GET http://host:1/api failed"),
        ("at 'https://token@host' and ssh://a:b@c", "at 'https://host' and ssh://c"),
        ("mail me@host.org, see http://host/a@b", "mail me@host.org, see http://host/a@b"),
        ("header Bearer s3cret!", "header Bearer ***"),
    ],
)
def test_errors_are_quoted_without_secrets(text, shown, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret!")
    assert without_secrets(text) == shown


def test_a_server_still_learns_who_asks(monkeypatch):
    """The password leaves the URI, and reaches the server all the same."""
    heard = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "other")
    place = f"127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:p%40ss@{place}")
    try:
        client = tracking_store.connect()
    finally:
        server.shutdown()
        server.server_close()
    assert client.tracking_uri == f"http://{place}"
    assert heard[0][1] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    for uri in ("sqlite:///a@b.db", "http://host", "postgresql://me:pw@db/runs"):
        assert signed_in(uri) == uri
    assert public("postgresql://me:pw@db/runs?password=pw") == "postgresql://db/runs"


def test_files_have_the_users_own_rights(tmp_path, evaluation, recipe):
    pretraining = Pretraining.model_validate({"train": {"recipe": recipe.model_dump()}})
    theta = Theta(
        dataset=Dataset(name="digits", size=16),
        model=Model(arch="resnet8"),
        pretraining=pretraining,
        evaluation=evaluation,
    )
    before = os.umask(0o027)
    try:
        ledger = open_ledger(tmp_path / "results")
        ledger.write(theta, {"state": "complete"}, {"weights.safetensors": b"x"})
    finally:
        os.umask(before)
    for path in (tmp_path / "results").rglob("*"):
        wanted = 0o750 if path.is_dir() else 0o640
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_users_own_settings_of_ray_win(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with connection.loopback():
        token = os.environ["RAY_AUTH_TOKEN"]
        assert os.environ["RAY_AUTH_MODE"] == "token" and len(token) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_MODE" not in os.environ
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/mine")
    with connection.loopback():
        assert os.environ["RAY_AUTH_MODE"] == "disabled" and "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.long
def test_a_local_ray_listens_on_loopback_behind_a_token(tmp_path):
    """In a process of its own: what Ray reads when it is imported counts."""
    code = """
import os, sys
from pathlib import Path
from tuner import cluster
from tuner.settings import Settings
with cluster.cluster(Settings()):
    import ray
    import psutil  # Ray brings its own.
    @ray.remote
    def seen():
        return os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]
    mode, token = ray.get(seen.remote())
    assert mode == "token" and len(token) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ
    me = psutil.Process()
    listening = {
        (process.name(), c.laddr.ip.removeprefix("::ffff:"))
        for process in [me, *me.children(recursive=True)]
        if process.status() != psutil.STATUS_ZOMBIE
        for c in process.net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    }
    names = {name for name, _ in listening}
    assert {"gcs_server", "raylet"} <= names, names
    assert {address for _, address in listening} == {"127.0.0.1"}, listening
    logs = Path(ray._private.worker._global_node.get_session_dir_path())
    held = [p for p in logs.rglob("*") if p.is_file() and token.encode() in p.read_bytes()]
    assert not held, held
print("loopback")
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "loopback\n"), done.stderr
