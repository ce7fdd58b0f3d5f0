"""The MLflow store of a run: a sqlite file that is whole or not there; a server that asks who."""

import base64
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.commands import environment
from tuner.tracking import backend

MAKE_ONE = "from tuner.tracking import backend; backend.connect()"


@pytest.mark.long
def test_a_store_whose_making_was_killed_is_made_by_the_next_run(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    making = subprocess.Popen(
        [sys.executable, "-c", MAKE_ONE], env=environment(MLFLOW_TRACKING_URI=uri)
    )
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in tmp_path.iterdir()):
        assert making.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    making.kill()
    making.wait()
    cut_short = {path.name for path in tmp_path.iterdir()}
    assert all(name.startswith(".mlflow.db.") for name in cut_short)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    number = backend.connect().create_experiment("s")
    assert {path.name for path in tmp_path.iterdir()} == {*cut_short, "mlflow.db"}
    # One that is there is left alone.
    assert backend.connect().get_experiment_by_name("s").experiment_id == number


def test_a_server_learns_who_asks(monkeypatch):
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
        client = backend.connect()
    finally:
        server.shutdown()
        server.server_close()
    assert client.tracking_uri == f"http://{place}"
    assert heard[0][1] == "Basic " + base64.b64encode(b"me:p@ss").decode()
