"""`python -m tuner ui`: what it starts."""

import os

from tuner.tracking import backend


def test_the_ui_listens_on_loopback_and_shows_no_password(tuner, monkeypatch):
    uri = "postgresql://me:hidden@db/runs?password=hidden"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(backend, "connect", lambda: None)
    started = []
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    said = tuner("ui").out
    ((_, command, environment),) = started
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert not any("hidden" in word for word in [*command, said])
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
