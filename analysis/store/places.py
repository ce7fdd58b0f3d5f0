"""Where an MLflow store keeps its files, whatever its folder is called and wherever that went."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "mlruns"
"""MLflow's own name for the folder of artifacts."""


def database(uri: str) -> Path | None:
    """The file of a sqlite store, as SQLAlchemy reads the URI: nothing in it is encoded."""
    head, separator, rest = uri.partition("sqlite:///")
    return Path(rest.partition("?")[0]) if separator and not head else None


def artifacts_of(uri: str) -> Path:
    """Where a store without a server keeps artifacts: beside its database, else in this folder."""
    file = database(uri)
    return (file.resolve().parent if file else Path.cwd()) / ARTIFACTS


def local(artifact_uri: str) -> Path | None:
    """The path of an artifact location on this machine; None for any other."""
    parts = urlsplit(artifact_uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(artifact_uri)


def split(place: Path) -> tuple[Path, Path] | None:
    """(the folder of artifacts, the rest) of a place in one; None elsewhere."""
    parts = place.parts
    if ARTIFACTS not in parts:
        return None
    end = len(parts) - parts[::-1].index(ARTIFACTS)
    return Path(*parts[:end]), Path(*parts[end:])


def followed(place: Path, uri: str) -> Path:
    """Where the artifacts of a run are: at `place`, as the store says, or, if they have come along
    with a database that was moved or copied, at the same place beside it. A run's folder has a name
    that no other has."""
    parts = split(place)
    if database(uri) is None or parts is None:
        return place
    here = artifacts_of(uri) / parts[1]
    return here if here.exists() else place
