"""The code that the documentation's pages show."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page of docs/ in a language, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def as_mine(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Code as a user has it, FOLDER/mine.py in the working folder: for a fixture to yield from. The
    module is imported anew by whoever asks for it."""
    file = folder / "mine.py"
    file.write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("mine", None)
    yield file
    sys.modules.pop("mine", None)
