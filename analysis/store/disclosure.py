"""What may be shown of tracking stores: never who signs in, nor with what."""

import os
import re
from urllib.parse import unquote

SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN")
"""Environment variables whose values are never shown."""

_USERINFO = re.compile(r"(?<=://)[^\s/'\"]*@")


def public(uri: str) -> str:
    """A tracking URI without user, password and query, which may hold either."""
    head, slashes, rest = uri.partition("://")
    if not slashes:
        return uri
    place, slash, path = rest.partition("/")
    return f"{head}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def without_secrets(text: str, uri: str = "") -> str:
    """Text from a library, as an error's, without what it may quote of a URI or the environment."""
    if uri:
        text = text.replace(uri, public(uri))
    text = _USERINFO.sub("", text)
    for value in filter(None, map(os.environ.get, SECRETS)):
        text = text.replace(value, "***")
    return text


def signed_in(uri: str) -> str:
    """A server's URI with its user and password moved to where MLflow looks for them as well (its
    environment variables): it logs and quotes the URI that it is given."""
    userinfo, at, _ = uri.partition("://")[2].partition("/")[0].rpartition("@")
    if not at or not uri.startswith(("http://", "https://")):
        return uri
    user, _, password = userinfo.partition(":")
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(user)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    return public(uri)
