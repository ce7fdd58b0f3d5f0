"""The schema takes what studies take, and the page of fields is the models'."""

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from search_spaces.finished.evidence import KINDS
from search_spaces.reading import schema, studies
from search_spaces.study import Study
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(schema.json_schema())


def numbers(value):
    """To YAML 1.1, which we read, 5e-4 is a word; to editors, as to pydantic, it is a number."""
    if isinstance(value, dict):
        return {name: numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def content(name):
    return numbers(yaml.safe_load(studies.shipped()[name]))


@pytest.mark.parametrize("name", studies.shipped())
def test_shipped_studies_satisfy_the_schema(validator, name):
    assert list(validator.iter_errors(content(name))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), 3),
        (("sources",), {}),
        (("evaluation", "attack", "epsilon"), "big"),
        (("evaluation", "attack", "epsilon"), 2),
        (("evaluation", "attack", "kind"), "cw"),
        (("downstream", 0, "levels"), "some"),
        (("downstream", 0, "seeds"), []),
        (("source", "dataset", "size"), 4),
        (("source", "pretrainings"), {}),
    ],
)
def test_the_schema_refuses_what_studies_refuse(validator, path, value):
    data = content("quickstart")
    node = data
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    with pytest.raises(ValidationError):
        Study.model_validate(data)
    assert list(validator.iter_errors(data))


def fields(node):
    """(model, field, its schema) of every field below a schema."""
    for name, model in {"": node, **node.get("$defs", {})}.items():
        for field, of in model.get("properties", {}).items():
            yield name or model["title"], field, of


@pytest.mark.parametrize("model", [Study, *KINDS], ids=lambda model: model.__name__)
def test_every_field_is_described(model):
    missing = [(n, f) for n, f, of in fields(model.model_json_schema()) if "description" not in of]
    assert missing == []


def test_the_page_of_fields_is_up_to_date():
    """Write it anew with: python -m tuner schema --markdown > docs/fields.md"""
    assert (ROOT / "docs" / "fields.md").read_text(encoding="utf-8") == schema.page()
