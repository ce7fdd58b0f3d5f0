"""Networks of libraries and of the user's own, as commands take them; the page that shows how."""

import shlex

import pytest

from tests.support.pages import as_mine, blocks

PAGE = "networks.md"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The page's file, in the working folder."""
    (code,) = blocks(PAGE, "python")
    yield from as_mine(code, tmp_path, monkeypatch)


def planned(tuner, *overrides):
    sets = [word for override in overrides for word in ("--set", override)]
    return tuner("plan", "--no-measure", *sets)


def test_the_pages_own_network_is_short_and_can_be_planned(mine, tuner):
    assert len(mine.read_text().splitlines()) <= 20
    (line,) = blocks(PAGE, "sh")
    *command, study, _, setting = shlex.split(line)
    assert command == ["python", "-m", "tuner", "run"] and study == "quickstart"
    code, out, err = planned(tuner, setting)
    assert (code, err) == (0, "") and "refuses" not in out


def test_a_changed_source_is_another_network(mine, tuner):
    from search_spaces import grid
    from search_spaces.reading import studies
    from tuner.storage.inputs import resolve

    def keys():
        study = studies.load("quickstart", ["source.model={arch: mine:network}"])
        return {cell.key for cell in grid.thetas(resolve(study, mine.parent))}

    before = keys()
    text = mine.read_text()
    mine.write_text(text + "# changed\n")
    assert not before & keys()
    mine.write_text(text)
    assert keys() == before


REFUSED = [
    ("{arch: vit_b_16}", "vit_b_16 is no network", "torchvision:NAME"),
    ("{arch: wrn-28-0}", "wrn-28-0", "takes resnet8"),
    ("{arch: wrn-27-1}", "wrn-27-1", "6n + 4"),
    ("{arch: wrn-28-1, width: 3}", "width is not a setting of wrn-28-1", "leave it out"),
    ("{arch: resnet8, options: {depth: 3}}", "options are for libraries", "not for resnet8"),
    ("{arch: 'gone_module:network'}", "there is no module gone_module", "install it"),
    ("{arch: 'mine:gone'}", "mine:gone", "gone"),
    ("{arch: 'mine:network', sha256: %s}" % ("a" * 64), "has sha256", "correct the study"),
    ("{arch: 'mine:network', head: fc}", "it has no module fc", "name its last linear layer"),
    ("{arch: 'torchvision:alexnet'}", "does not take images of 1 x 12 x 12", "another size:"),
    ("{arch: 'torchvision:resnet17'}", "no such classifier", "resnet18"),
]


@pytest.mark.parametrize(("model", "thing", "remedy"), REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(mine, tuner, model, thing, remedy):
    before = sorted(mine.parent.iterdir())
    code, out, err = tuner("run", "quickstart", "--set", f"source.model={model}")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and thing in err and remedy in err
    assert [p for p in sorted(mine.parent.iterdir()) if p.name != "__pycache__"] == before
