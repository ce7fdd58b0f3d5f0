"""Domains as written in a study: what they hold, and what they refuse."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from search_spaces.searches.spaces import AnyDomain

DOMAIN = TypeAdapter(AnyDomain)


def read(written):
    return DOMAIN.validate_python(written)


@pytest.mark.parametrize(
    ("written", "inside", "outside"),
    [
        ({"log_uniform": ["1e-3", 0.1]}, [1e-3, 0.05, 0.1], [9e-4, 0.11, "x"]),
        ({"uniform": ["4/255", "8/255"]}, [4 / 255, 8 / 255, 6 / 255], [3 / 255, 9 / 255]),
        ({"int": [3, 7]}, [3, 5, 7], [2, 8, 4.5]),
        ({"log_int": [16, 256]}, [16, 100, 256], [15, 257, 20.5]),
        ({"choice": [64, "8/255", "cosine"]}, [64, 8 / 255, "cosine"], [128, "constant"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_domain_holds_what_it_says(written, inside, outside):
    domain = read(written)
    assert all(domain.holds(value) for value in inside)
    assert not any(domain.holds(value) for value in outside)
    assert all(domain.holds(value) for value in domain.samples)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"log_uniform": [0, 1]}, "log_uniform takes [a, b] with 0 < a < b, not [0, 1]"),
        ({"log_uniform": [2, 1]}, "0 < a < b"),
        ({"uniform": [1, 1]}, "uniform takes [a, b] with a < b"),
        ({"uniform": [0, "inf"]}, "finite number"),
        ({"uniform": [0]}, "Field required"),
        ({"int": [5, 2]}, "int takes [a, b] with a < b"),
        ({"int": [1.5, 2]}, "valid integer"),
        ({"log_int": [0, 4]}, "log_int takes [a, b] with 0 < a < b"),
        ({"choice": []}, "at least 1 item"),
        ({"choice": [1, 1]}, "choice has a value twice: [1, 1]"),
        ({"choice": [[1]]}, "valid"),
        ({"uniform": [0, 1], "int": [0, 1]}, "Extra inputs"),
        ({"normal": [0, 1]}, "a domain is one of {log_uniform: [a, b]}"),
        (3, "a domain is one of"),
        (None, "a domain is one of"),
    ],
)
def test_what_is_no_domain_is_refused(written, words):
    with pytest.raises(ValidationError) as caught:
        read(written)
    assert words in str(caught.value)


finite = st.floats(1e-9, 1e9)
whole = st.integers(1, 10**9)
words = st.sampled_from(["cosine", "constant", "pgd"])


def ascending(numbers):
    return st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)


domains = st.one_of(
    st.fixed_dictionaries({"log_uniform": ascending(finite)}),
    st.fixed_dictionaries({"uniform": ascending(finite)}),
    st.fixed_dictionaries({"int": ascending(whole)}),
    st.fixed_dictionaries({"log_int": ascending(whole)}),
    st.fixed_dictionaries(
        {"choice": st.lists(finite | whole | words, min_size=1, max_size=4, unique=True)}
    ),
)
conditions = st.dictionaries(words, st.lists(whole, min_size=1, max_size=2), max_size=2)


@given(domains, st.none() | conditions)
def test_domains_survive_writing_and_reading(written, when):
    domain = read({**written, "when": when} if when else written)
    again = DOMAIN.dump_python(domain, mode="json", exclude_none=True)
    assert read(again) == domain
    assert set(again) == set(written) | ({"when"} if when else set())


@given(domains)
def test_samples_are_in_the_domain(written):
    domain = read(written)
    assert all(domain.holds(value) for value in domain.samples)
    assert not domain.holds("no such word")
    assert not domain.holds(math.inf)


def test_conditions_look_at_the_point():
    domain = read({"int": [1, 2], "when": {"a": [1, 2], "b": ["x"]}})
    assert domain.active({"a": 2, "b": "x"})
    assert not domain.active({"a": 3, "b": "x"})
    assert not domain.active({"a": 1})
    assert read({"int": [1, 2]}).active({})


def test_numbers_keep_their_kind():
    assert [type(v) for v in read({"choice": [1, 0.5, "1/3", "x"]}).choice] == [
        int,
        float,
        float,
        str,
    ]
    assert read({"int": [1, 2]}).bounds == (1, 2)
    assert read({"log_uniform": ["1/255", 1]}).log_uniform == (1 / 255, 1.0)
