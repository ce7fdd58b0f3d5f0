"""Code of the user's own: found and digested without being imported."""

import hashlib
import sys

import pytest

from search_spaces import own
from search_spaces.errors import InputError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose modules must not be executed."""
    folder = tmp_path / "mine_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "parts.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_digest_is_the_files_and_nothing_is_imported(package):
    name = "mine_pkg.parts:thing"
    assert own.source(name) == package / "parts.py"
    before = own.digest(name)
    assert before == hashlib.sha256((package / "parts.py").read_bytes()).hexdigest()
    (package / "parts.py").write_text("thing = print")
    assert own.digest(name) != before
    assert not any(module.startswith("mine_pkg") for module in sys.modules)


@pytest.mark.parametrize("name", ["mine_pkg.absent:thing", "absent_pkg:thing", "sys:exit"])
def test_what_has_no_source_is_named(package, name):
    with pytest.raises(InputError, match=name.partition(":")[0]):
        own.digest(name)
