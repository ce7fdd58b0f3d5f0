"""One published file, fetched over the network and verified before it is put in its place."""

import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from search_spaces.errors import InputError
from trainables.checkpoints.published import Published
from trainables.data.catalogue import file_sha256

TIMEOUT = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(wanted: Published, sha256: str | None) -> tuple[str, str]:
    """("verified" or "fetched", the SHA-256 of the file in its place).

    A file is put there only when it has the digest that the study states, and the one that its host
    states. Raises InputError, saying what to put where, if it cannot be had, and where what there
    is has another digest.
    """
    if wanted.file.is_file():
        found = file_sha256(wanted.file)
        if sha256 not in (None, found):
            raise InputError(
                f"{wanted.file} has sha256 {found}, the study says {sha256}: remove it, or correct "
                "sha256:"
            )
        return "verified", found
    try:
        wanted.file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wanted.file.parent, prefix=".") as folder:
            part = Path(folder) / "part"
            stated = _download(wanted.url, part)
            found = file_sha256(part)
            for who, expected in (("the study", sha256), ("its host", stated)):
                if expected not in (None, found):
                    raise InputError(
                        f"{wanted.url} gives a file of sha256 {found}, {who} says {expected}: try "
                        "again, or correct sha256:"
                    )
            os.replace(part, wanted.file)
    except (OSError, urllib.error.URLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot fetch {wanted.file.name} ({error}): download {wanted.url} and put it at "
            f"{wanted.file}, then run the same command again"
        ) from error
    return "fetched", found


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, and keeps the digest that the first host states on the way."""

    stated: str | None = None

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        *_, headers, _ = arguments
        self.stated = self.stated or linked(headers)
        return super().redirect_request(*arguments)


def linked(headers: Any) -> str | None:
    """The SHA-256 that Hugging Face states of a large file; None of others."""
    text = str(headers.get("X-Linked-Etag", "")).strip('"')
    return text if _SHA256.fullmatch(text) else None


def _download(url: str, file: Path) -> str | None:
    """Writes what a URL gives into a file; the digest that its host states of it, if it does."""
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    request = urllib.request.Request(url, headers={"User-Agent": "double-win-tickets"})
    with opener.open(request, timeout=TIMEOUT) as answer, file.open("wb") as target:
        shutil.copyfileobj(answer, target)
        expected = answer.headers.get("Content-Length")
        if expected is not None and target.tell() != int(expected):
            raise OSError(f"cut off after {target.tell()} of {expected} bytes")
        return redirects.stated or linked(answer.headers)
