"""How a Ray of this machine is kept to itself."""

import os

import pytest
import ray

from search_spaces.errors import InputError
from tuner.cluster import connection


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_a_token_of_its_own_is_set_inside_only():
    with connection.loopback():
        assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_MODE" not in os.environ


def test_a_users_own_settings_win(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/mine")
    with connection.loopback():
        assert os.environ["RAY_AUTH_MODE"] == "disabled" and "RAY_AUTH_TOKEN" not in os.environ


def test_a_ray_that_does_not_start_is_told_in_one_line(monkeypatch, tmp_path):
    def slow(**_):
        raise Exception("The current node timed out during startup.\nThis could happen")

    monkeypatch.setattr(connection, "ENVIRONMENT", {})
    monkeypatch.setattr(ray, "init", slow)
    with pytest.raises(InputError, match=r"does not start on this machine: .* startup\. This"):
        connection.connect(None, tmp_path)
