"""From YAML and overrides to a study: any input gives a Study or one clear line."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.reading import bounded_yaml, studies
from search_spaces.study import Study

SMALL = """\
# python -m tuner run small.yaml
#
#   Expect: nothing
name: small
source:
  dataset: {name: mnist-mini, size: 16}
  model: {arch: resnet8}
  pretrainings:
    standard: {train: {recipe: &recipe {epochs: 2, lr: 0.1}}}
    adversarial:
      train: {attack: &pgd {kind: pgd, steps: 2, epsilon: 8/255, alpha: 2/255}, recipe: *recipe}
# not part of the head
pruning: {imp: {method: imp, rounds: 2, retraining: {recipe: *recipe}}}
downstream:
  - dataset: {name: digits, size: 16}
    levels: [0, 2]
    regimes: {standard: {recipe: *recipe}}
    seeds: [0, 1]
evaluation: {attack: *pgd}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def refusal(study, *overrides):
    """The message of the InputError, which is one line."""
    with pytest.raises(InputError) as caught:
        studies.load(study, list(overrides))
    message = str(caught.value)
    assert message
    assert message.splitlines() == [message]
    return message


@pytest.mark.parametrize("name", studies.shipped())
def test_shipped_studies_load(name):
    assert studies.load(name).name == name


def test_every_shipped_study_tells_its_command():
    for name, text in studies.shipped().items():
        assert f"python -m tuner run {name}" in studies.head_comment(text)


def test_quickstart_is_shipped():
    assert "quickstart" in studies.shipped()


def test_a_file_loads(small):
    study = studies.load(small)
    assert study.evaluation.attack.epsilon == 8 / 255
    assert study.downstream[0].seeds == (0, 1)


def test_a_loaded_study_survives_yaml():
    study = studies.load("quickstart")
    text = yaml.safe_dump(study.model_dump(mode="json", exclude_none=True))
    again = studies.validate(studies.parse(text, "again"), "again")
    assert again == study
    assert key(again) == key(study)


def test_head_comment():
    assert studies.head_comment(SMALL) == ("python -m tuner run small.yaml\n\n  Expect: nothing")
    assert studies.head_comment("name: x\n# later") == ""


def test_overrides_reach_everywhere(small):
    study = studies.load(
        small,
        [
            "downstream.0.seeds=[0,1,2,3]",
            "downstream.0.levels.1=1",
            "source.pretrainings.standard.train.recipe.lr=1e-2",
            "evaluation.attack.epsilon=4/255",
            "downstream.0.regimes.standard.recipe.schedule={kind: cosine}",
            "source.model.width=8",
        ],
    )
    task = study.downstream[0]
    assert (task.seeds, task.levels) == ((0, 1, 2, 3), (0, 1))
    assert study.source.pretrainings["standard"].train.recipe.lr == 0.01
    assert study.evaluation.attack.epsilon == 4 / 255
    assert task.regimes["standard"].recipe.schedule.kind == "cosine"
    assert study.source.model.width == 8


def test_an_override_changes_one_place_of_an_anchored_value(small):
    study = studies.load(
        small, ["source.pretrainings.standard.train.recipe.epochs=9", "evaluation.attack.steps=20"]
    )
    assert study.source.pretrainings["standard"].train.recipe.epochs == 9
    assert study.source.pretrainings["adversarial"].train.recipe.epochs == 2
    assert study.downstream[0].regimes["standard"].recipe.epochs == 2
    assert study.evaluation.attack.steps == 20
    assert study.source.pretrainings["adversarial"].train.attack.steps == 2


def test_later_overrides_win(small):
    assert studies.load(small, ["name=one", "name=two"]).name == "two"


def test_an_override_may_hold_an_equals_sign(small):
    assert "name: String should match pattern" in refusal(small, "name=a=b")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seeds", "write PATH=VALUE, as in downstream.0.seeds=[0,1]"),
        ("=1", "write PATH=VALUE"),
        ("", "write PATH=VALUE"),
        ("downstream.0.seeds=[0", "the value is not valid YAML"),
        ("name=2020-99-99", "the value is not valid YAML"),
        ("downstream.1.seeds=[0]", "1 is not a place in a list of 1"),
        ("downstream.-1.seeds=[0]", "-1 is not a place in a list of 1"),
        ("downstream.first.seeds=[0]", "first is not a place in a list of 1"),
        ("downstream.².seeds=[0]", "² is not a place in a list of 1"),
        ("downstream.0.seeds.2=7", "2 is not a place in a list of 2"),
        (f"downstream.{'9' * 5000}.seeds=[0]", "is not a place in a list of 1"),
        ("source.modle.arch=resnet18", "no field modle there (known: dataset, model, pretrain"),
        ("name.first=x", "name is a single value, not a mapping"),
        ("name.first.second=x", "no field first there (known: nothing below it)"),
        ("a\nb=1", "a b: unknown field"),
    ],
)
def test_bad_overrides_are_named(small, override, words):
    message = refusal(small, override)
    assert words in message
    if "unknown field" not in words:
        assert message.startswith(f"--set {override}:")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sources=1", "sources: unknown field (got 1)"),
        (
            "source.pretrainings.standard.train.recipe.learning_rate=0.1",
            "source.pretrainings.standard.train.recipe.learning_rate: unknown field (got 0.1)",
        ),
        ("source.model.arch=resnet9", "source.model.arch: resnet9 is no network"),
        ("source.model.width=wide", "source.model.width: Input should be a valid integer"),
        ("source.model={}", "source.model.arch: this field is required"),
        ("downstream.0.seeds.1=0", "downstream.0: seeds has a value twice: [0, 0]"),
        ("downstream.0.seeds.1=-3", "downstream.0.seeds.1: Input should be greater than or equal"),
        ("downstream.0.levels=[0,5]", "downstream.0.levels: level 5 is beyond what pruning makes"),
        ("pruning=3", "pruning: Input should be a valid dictionary (got 3)"),
    ],
)
def test_faults_name_file_path_and_rule(small, override, words):
    assert f"{small}: {words}" in refusal(small, override)


def test_further_faults_are_counted(small):
    assert refusal(small, "wrong=1", "name=").endswith("; and 1 more")


def test_an_unknown_study_offers_the_nearest_name():
    message = refusal("quikstart")
    assert message.startswith("study quikstart: unknown: did you mean quickstart?")
    assert "must end in .yaml" in message


def test_an_unknown_study_lists_what_there_is():
    assert "shipped are" in refusal("zzz")
    assert "quickstart" in refusal("zzz")


def test_a_very_long_name_is_unknown():
    assert "unknown" in refusal("x" * 10_000)


def test_files_that_cannot_be_read(tmp_path):
    missing = str(tmp_path / "missing.yaml")
    assert refusal(missing) == f"study {missing}: cannot be read: No such file or directory"
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    assert "cannot be read: Is a directory" in refusal(str(folder))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not a UTF-8 text file" in refusal(str(binary))


# What PyYAML answers with an exception of its own, of Python's, or not at all.
TROUBLE = {
    "empty": "",
    "a list": "- name: x",
    "a word": "quickstart",
    "unbalanced": "name: {",
    "tab": "\tname: x",
    "NUL": "name: \x00",
    "python object": "name: !!python/object/apply:os.getcwd []",
    "wrong date": "name: 2020-99-99",
    "wrong number": "name: !!int x",
    "no number": "name: !!int ''",
    "wrong truth": "name: !!bool maybe",
    "wrong time": "name: !!timestamp now",
    "too deep": "[" * 5000,
    "too many digits": "name: " + "9" * 5000,
    "a number too long to print": "source: 0x" + "f" * 5000,
    "a fraction too large": "name: x\nevaluation: {attack: {epsilon: 1" + "0" * 400 + "/1}}",
    "a key over two lines": '"a\\nb": 1\n' + SMALL,
    "another line break": '"a\\u2028b": 1\n' + SMALL,
    "half a character": 'name: "\\ud800"',
    "numbers as keys": "1: 2\n" + SMALL,
    "no key": "null: 2\n" + SMALL,
    "a list that holds itself": "name: &a [*a]",
    "a mapping that holds itself": "name: x\nsource: &a {dataset: *a, model: *a}",
    "a set": "!!set {name, source}",
}


@pytest.mark.parametrize("text", TROUBLE.values(), ids=TROUBLE)
def test_troublesome_files_give_one_line(tmp_path, text):
    path = tmp_path / "trouble.yaml"
    path.write_text(text, encoding="utf-8")
    assert str(path) in refusal(str(path))


def test_a_billion_laughs_are_cut_short(tmp_path):
    path = tmp_path / "laughs.yaml"
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    path.write_text("\n".join([*lines, "name: *a29"]))
    assert len(refusal(str(path))) < 400


# A busy machine is no fault of the code.
calm = settings(deadline=None)


def assert_study_or_one_line(act):
    message = None
    try:
        study = act()
    except InputError as error:
        message = str(error)
    if message is None:
        assert isinstance(study, Study)
    else:
        assert message
        assert message.splitlines() == [message]


@calm
@given(st.text())
def test_any_text_gives_a_study_or_one_line(text):
    assert_study_or_one_line(lambda: studies.validate(studies.parse(text, "any"), "any"))


WORDS = """
name source dataset model pretrainings standard train recipe attack pruning imp downstream
levels regimes seeds evaluation size arch epochs lr kind epsilon only 8/255 pgd &a *a !!int !!bool
!!timestamp !!set !!omap 2020-99-99 0x1f 1e999 .nan ~ << : - ? [ ] { } , | > ' " # % --- ...
"""
words = st.sampled_from(WORDS.split())
punctuation = st.sampled_from([" ", "\n", ": ", "\n  ", "\n- ", ", "])


@calm
@given(st.lists(st.tuples(words, punctuation), max_size=25))
def test_any_yaml_like_text_gives_a_study_or_one_line(parts):
    text = "name: x\n" + "".join(map("".join, parts))
    assert_study_or_one_line(lambda: studies.validate(studies.parse(text, "any"), "any"))


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(["8/255", "pgd", "fgsm", "digits", "resnet8", "standard", "imp"])
)
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(words | st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


def places(node, prefix=()):
    """The path of every value in a nested structure."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in children:
        yield (*prefix, name)
        if isinstance(value, (dict, list)):
            yield from places(value, (*prefix, name))


PLACES = [".".join(map(str, path)) for path in places(yaml.safe_load(SMALL))]


@calm
@given(st.dictionaries(words | st.text(max_size=4) | st.integers() | st.none(), anything))
def test_any_mapping_gives_a_study_or_one_line(data):
    assert_study_or_one_line(lambda: studies.validate(data, "any"))


@calm
@given(st.sampled_from(PLACES), anything)
def test_any_value_in_any_place_gives_a_study_or_one_line(place, value):
    data = yaml.safe_load(SMALL)
    *parents, last = (int(part) if part.isdigit() else part for part in place.split("."))
    node = data
    for part in parents:
        node = node[part]
    node[last] = value
    assert_study_or_one_line(lambda: studies.validate(data, "any"))


@calm
@given(st.sampled_from(PLACES) | st.text(max_size=12), st.text(max_size=12))
def test_any_override_gives_a_study_or_one_line(place, text):
    assert_study_or_one_line(lambda: studies.load("quickstart", [f"{place}={text}"]))


def test_a_field_written_twice_is_refused(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("name: a\nsource: {x: 1}\nname: b\n")
    with pytest.raises(InputError, match="field name is written twice"):
        studies.load(str(file))


BOMBS = {
    "aliases of aliases": "\n".join(
        [
            "a0: &a0 [1, 2]",
            *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)),
        ]
    ),
    "merged mappings": "\n".join(
        [
            "a0: &a0 {x: 1}",
            *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60)),
        ]
    ),
    "a long list": "[" + "1," * 20_000 + "]",
    "a long text": "name: " + "x" * 200_000,
    "brackets": "[" * 1000,
    "an alias of itself": "name: &a {b: {c: *a}}",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_no_document_grows_beyond_the_bounds(text, monkeypatch):
    """Nothing is made of a document that is too large: it is refused as it is parsed."""
    monkeypatch.setattr(
        yaml.SafeLoader, "construct_document", lambda *_: pytest.fail("was constructed")
    )
    with pytest.raises(InputError, match=r"make it|write it out"):
        studies.parse(text, "bomb")


def test_what_is_within_the_bounds_is_read():
    values = bounded_yaml.MOST_VALUES // 10
    text = f"a: &a [{', '.join(['1'] * values)}]\nb: [*a, *a, *a, *a, *a, *a, *a]"
    assert sum(map(len, studies.parse(text, "large")["b"])) == 7 * values
    assert studies.parse("a: &a {x: 1}\nb: {<<: *a, y: 2}", "merged")["b"] == {"x": 1, "y": 2}


# Of processor time, for one document; the tests below try hundreds.
MOST_SECONDS = 5.0
SHIPPED = studies.shipped()
TOKENS = [*WORDS.split(), "9" * 400, "1e400", "[[[[", "{{{{", "*recipe", "&recipe ", "<<: ", "\n"]


def assert_quick_and_one_line(act):
    started = time.process_time()
    assert_study_or_one_line(act)
    assert time.process_time() - started < MOST_SECONDS


@st.composite
def mutated(draw):
    """A shipped study with a few pieces of its text cut out, doubled, or replaced."""
    text = SHIPPED[draw(st.sampled_from(sorted(SHIPPED)))]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        piece = draw(st.sampled_from(["", text[start:end] * 2, *TOKENS]) | st.text(max_size=4))
        text = text[:start] + piece + text[end:]
    return text


@settings(deadline=None, max_examples=60)
@given(mutated())
def test_any_mutation_of_a_shipped_study_gives_a_study_or_one_line(text):
    assert_quick_and_one_line(lambda: studies.validate(studies.parse(text, "mutated"), "mutated"))


SHIPPED_PLACES = [
    ".".join(map(str, path)) for path in places(yaml.safe_load(studies.shipped()["quickstart"]))
]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(SHIPPED_PLACES), anything), min_size=1, max_size=3))
def test_any_overrides_of_a_shipped_study_give_a_study_or_one_line(pairs):
    overrides = [
        f"{place}={yaml.safe_dump(value, default_flow_style=True)}" for place, value in pairs
    ]
    assert_quick_and_one_line(lambda: studies.load("quickstart", overrides))


@st.composite
def laughs(draw):
    """Mappings and lists that refer to the ones above them, many times over."""
    lines = ["a0: &a0 [1, 2, 3]"]
    for number in range(1, draw(st.integers(2, 40))):
        above = [f"*a{draw(st.integers(0, number - 1))}" for _ in range(draw(st.integers(1, 9)))]
        shape = draw(st.sampled_from(["[{}]", "{{x: [{}]}}", "{{<<: [{}]}}"]))
        lines.append(f"a{number}: &a{number} {shape.format(', '.join(above))}")
    return "\n".join([*lines, "name: x"])


def values(node):
    """How many values there are, with everything that is shared counted where it is used."""
    if isinstance(node, dict):
        return 1 + sum(1 + values(inside) for inside in node.values())
    return 1 + sum(map(values, node)) if isinstance(node, list) else 1


@settings(deadline=None, max_examples=100)
@given(laughs())
def test_what_aliases_stand_for_is_bounded(text):
    started, found = time.process_time(), None
    try:
        found = studies.parse(text, "laughs")
    except InputError as error:
        message = str(error)
        assert message.splitlines() == [message]
    assert values(found) <= bounded_yaml.MOST_VALUES
    assert time.process_time() - started < MOST_SECONDS
