"""No secret is shown, and none is lost on whoever must know it."""

import pytest

from analysis.store.disclosure import public, signed_in, without_secrets


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


def test_uris_are_shown_without_passwords():
    assert public("postgresql://me:pw@db/runs?password=pw") == "postgresql://db/runs"


@pytest.mark.parametrize("uri", ["sqlite:///a@b.db", "http://host", "postgresql://me:pw@db/runs"])
def test_what_is_no_server_with_a_password_stays_as_it_is(uri):
    assert signed_in(uri) == uri
