"""The code that the documentation's pages show."""

import re

from tests.support.paths import ROOT


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page of docs/ in a language, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
