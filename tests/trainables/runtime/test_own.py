"""Loading the user's own code: the source that the study means, or one line."""

import pytest

from search_spaces.errors import InputError
from search_spaces.own import digest
from trainables.runtime.own import load

SOURCE = "NUMBER = 1\ndef doubled(x):\n    return 2 * x\n"


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """A module of its own name for each test: Python keeps what it has imported."""
    name = f"mine_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_what_is_named_is_loaded(module):
    assert load(f"{module}:doubled", digest(f"{module}:doubled"))(21) == 42


def test_a_source_that_has_changed_is_refused(module, tmp_path):
    before = digest(f"{module}:doubled")
    (tmp_path / f"{module}.py").write_text(SOURCE + "# changed")
    with pytest.raises(InputError, match="has changed"):
        load(f"{module}:doubled", before)


@pytest.mark.parametrize("attribute", ["absent", "NUMBER"])
def test_what_is_not_there_or_cannot_be_called_is_refused(module, attribute):
    with pytest.raises(InputError, match=f"{module}:{attribute}"):
        load(f"{module}:{attribute}")


def test_a_module_that_fails_is_named_with_its_error(module, tmp_path):
    (tmp_path / f"{module}.py").write_text("1 / 0")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        load(f"{module}:doubled")
