"""Weights by name: fetched from a host (a loopback one), verified, put where a study looks."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from search_spaces.errors import InputError
from search_spaces.networks import Checkpoint, Model
from tests.support.studies import tiny
from trainables.checkpoints.published import ENDPOINT, Published, published
from trainables.models import networks
from tuner.storage.downloads import fetch
from tuner.storage.fetching import fetch as fetch_study
from tuner.storage.inputs import resolve

REPOSITORY = "someone/robust-nets"


class Host:
    """A host of one file: under /REPOSITORY/resolve/main/ it sends on to /data, with its digest."""

    def __init__(self):
        self.content, self.stated, self.asked, self.cut = b"weights", None, [], 0
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                host.asked.append(self.path)
                if "/resolve/main/" in self.path:
                    self.send_response(302)
                    self.send_header("Location", "/data")
                    if host.stated:
                        self.send_header("X-Linked-Etag", f'"{host.stated}"')
                    self.end_headers()
                elif self.path == "/data":
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(host.content) + host.cut))
                    self.end_headers()
                    self.wfile.write(host.content)
                else:
                    self.send_error(404)

            def log_message(self, *_):
                """Says nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setenv(ENDPOINT, host.address)
    yield host
    host.server.shutdown()
    host.server.server_close()


def wanted(host, tmp_path):
    return Published(f"{host.address}/{REPOSITORY}/resolve/main/net.pt", tmp_path / "w" / "net.pt")


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_is_fetched_once_and_verified_after(host, tmp_path, stated):
    host.stated = host.sha256 if stated else None
    file = wanted(host, tmp_path)
    assert fetch(file, host.sha256) == ("fetched", host.sha256)
    assert file.file.read_bytes() == host.content
    asked = len(host.asked)
    assert fetch(file, None) == ("verified", host.sha256)
    assert len(host.asked) == asked


@pytest.mark.parametrize(
    ("study", "stated", "who"),
    [("0" * 64, None, "the study says"), (None, "1" * 64, "its host says")],
)
def test_what_has_another_digest_is_not_kept(host, tmp_path, study, stated, who):
    host.stated = stated
    with pytest.raises(InputError, match=who):
        fetch(wanted(host, tmp_path), study)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_of_another_digest_in_its_place_is_named(host, tmp_path):
    file = wanted(host, tmp_path)
    fetch(file, None)
    with pytest.raises(InputError, match=r"net.pt has sha256 .*remove it"):
        fetch(file, "0" * 64)


def test_what_is_cut_off_or_not_there_says_how_to_do_it_by_hand(host, tmp_path):
    host.cut = 5
    with pytest.raises(InputError, match=r"download http.*net.pt and put it at .*w/net.pt"):
        fetch(wanted(host, tmp_path), None)
    gone = Published(f"{host.address}/gone", tmp_path / "gone.pt")
    with pytest.raises(InputError, match="404"):
        fetch(gone, None)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def loading(**load):
    return tiny(f"source.pretrainings={{standard: {{load: {load}}}}}")


def test_a_study_gets_its_weights_by_name(host, tmp_path):
    study = loading(format="huggingface", weights=f"{REPOSITORY}/nets/a.pt")
    with pytest.raises(InputError, match=r"python -m tuner data STUDY fetches it; without"):
        resolve(study, tmp_path)
    net = networks.build(study.source.model, 10, [0.5], [0.5], seed=0)
    torch.save(net.state_dict(), tmp_path / "there.pt")
    host.content = (tmp_path / "there.pt").read_bytes()
    (line,) = [each for each in fetch_study(study, tmp_path) if each.startswith("standard")]
    file = tmp_path / "weights" / REPOSITORY / "main" / "nets" / "a.pt"
    assert line == f"standard: fetched {file}, sha256 {host.sha256}"
    load = resolve(study, tmp_path).source.pretrainings["standard"].load
    assert (load.path, load.sha256, load.weights) == (
        str(file),
        host.sha256,
        f"{REPOSITORY}/nets/a.pt",
    )
    assert resolve(resolve(study, tmp_path), tmp_path) == resolve(study, tmp_path)


def test_a_revision_is_another_file(host, tmp_path):
    load = {"format": "huggingface", "weights": f"{REPOSITORY}/a.pt"}
    model = Model(arch="resnet8")
    first, second = (
        published(Checkpoint(**load, **more), model, tmp_path) for more in ({}, {"revision": "v2"})
    )
    assert first.file != second.file
    assert second.url == f"{host.address}/{REPOSITORY}/resolve/v2/a.pt"


def test_timms_weights_have_a_home(host, tmp_path):
    pytest.importorskip("timm")
    model = Model(arch="timm:resnet18")
    load = Checkpoint(format="timm", weights="a1_in1k")
    found = published(load, model, tmp_path)
    assert found.url == f"{host.address}/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    with pytest.raises(InputError, match=r"only .*a1_in1k"):
        published(load.model_copy(update={"weights": "b9"}), model, tmp_path)
    with pytest.raises(InputError, match="none of timm's networks"):
        published(load, Model(arch="resnet18"), tmp_path)


@pytest.mark.parametrize(
    ("load", "rule"),
    [
        ({"format": "huggingface", "weights": "a/b"}, "OWNER/REPOSITORY/FILE"),
        ({"format": "huggingface", "weights": "a/../b/c"}, "pattern"),
        ({"format": "timm", "path": "x"}, "take weights: NAME"),
        ({"format": "timm", "weights": "x", "revision": "v"}, "revision is for format huggingface"),
        ({"format": "state_dict"}, "others path: FILE"),
    ],
)
def test_names_keep_their_rules(load, rule):
    with pytest.raises(ValueError, match=rule):
        Checkpoint(**load)
