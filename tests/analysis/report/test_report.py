"""The page: its data, its words, and that nothing in it can break out."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from analysis.cli import main
from analysis.figures import named, style
from analysis.report import page, report
from analysis.store import evidence, load
from search_spaces import grid
from search_spaces.errors import InputError
from tests.support.synthetic import Bulk, large_study

LABELS = {"theta": "standard", "pruning": "imp", "level": 9, "sparsity": 0.86, "key": "k0"}
TASK = {"dataset": "svhn", "fraction": 1.0, "regime": "adversarial", "seed": 0}


@pytest.fixture(scope="module")
def study():
    return large_study("small", levels=[0, 4, 13], fractions=[1.0], seeds=[0, 1])


@pytest.fixture(scope="module")
def store(tmp_path_factory, study):
    """A study without one transfer, and with evidence as the driver leaves it."""
    bulk = Bulk(tmp_path_factory.mktemp("report"))
    parent = bulk.add(study, grid.transfers(study)[:-1])
    client = MlflowClient(tracking_uri=bulk.uri)
    pair = {f"{which}_{n}": v for which in ("first", "second") for n, v in LABELS.items()}
    pair |= {"second_theta": "adversarial", "similarity": 0.4, "by_chance": 0.1}
    layers = [
        {"name": "a", "stage": "conv1", "shape": [2, 3, 3, 3]},
        {"name": "b", "stage": "conv1", "shape": [2, 3, 1, 1]},
    ]
    structure = {**LABELS, "kernels_pruned": 5, "layers": layers, "file": "evidence/kernels/k0.npz"}
    scape = {**LABELS, **TASK, "clean_mean_rise": 0.25, "attacked_mean_rise": 0.5}
    scape |= {"file": "evidence/landscapes/k0.npz", "explained": [0.9, 0.1]}
    flag = {**LABELS, **TASK, "flag": "black_box", "rule": "black-box <b>beats</b> white-box"}
    tables = {"similarity": [pair], "structure": [structure], "landscape": [scape], "flags": [flag]}
    client.log_dict(parent, {"tables": dict.fromkeys(tables, "about")}, "evidence/index.json")
    for name, rows in tables.items():
        client.log_text(parent, json.dumps(rows), f"evidence/{name}.json")
    folder = bulk.folder / "arrays"
    folder.mkdir()
    kept = {"a": np.arange(6).reshape(2, 3), "b": np.ones((2, 3), int)}
    np.savez(folder / "kernels", **kept)
    axis = np.array([-1.0, 0.0, 1.0])
    bowl = axis[None, :] ** 2 + 2 * axis[:, None] ** 2
    surfaces = {f"{p}_{k}": bowl for p in ("random", "path") for k in ("clean", "attacked")}
    axes = {f"{p}_{a}": axis for p in ("random", "path") for a in "xy"}
    np.savez(folder / "landscapes", **surfaces, **axes, path=np.array([[1.0, 1.0], [0.5, 0.0]]))
    for name in ("kernels", "landscapes"):
        (folder / f"{name}.npz").rename(folder / "k0.npz")
        client.log_artifact(parent, str(folder / "k0.npz"), f"evidence/{name}")
    return bulk


@pytest.fixture(scope="module")
def found(store):
    return evidence.read(load.load("small", store.uri).parent, store.uri)


@pytest.fixture(scope="module")
def gathered(store):
    results = load.load("small", store.uri)
    secretive = "http://me:secret@host/x"
    return report.gather(results, secretive, load.tags(results, store.uri))


class Checked(HTMLParser):
    """Counts elements, and sees that each that is opened is closed."""

    def __init__(self):
        super().__init__()
        self.opened, self.counts, self.links = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "br", "img"):
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag


def checked(text):
    parser = Checked()
    parser.feed(text)
    assert parser.opened == []
    return parser


def test_the_page_needs_nothing_else(gathered):
    parser = checked(page.render(gathered))
    assert parser.counts["script"] == 2
    assert len(parser.links) == len(named.OVER_EVIDENCE)
    assert all(link.startswith("data:image/png;base64,iVBORw0KGgo") for link in parser.links)
    text = page.render(gathered)
    assert "default-src 'none'" in text and "@import" not in text and "url(" not in text


def test_the_page_says_what_is_missing_and_flagged_and_no_secret(gathered, study):
    text = page.render(gathered)
    total = len(grid.transfers(study))
    assert f"1 of {total} transfers are missing" in text
    assert "black-box &lt;b&gt;beats&lt;/b&gt; white-box" in text and "<b>" not in text
    assert "secret" not in text and "http://host/x" in text
    for command in ("tuner run small", "tuner evidence small", "analysis report --study small"):
        assert f"python -m {command}" in text
    assert gathered.facts["seeds"] == "0, 1 (transfers), 0 (source)"


def test_what_users_write_cannot_break_out(gathered):
    bad = '</script><script>alert("$name")</script>'
    curves = [{"title": bad, "lines": []}]
    changed = {"name": bad, "settings": bad, "commands": [bad], "lines": [bad], "curves": curves}
    text = page.render(report.Report(**{**vars(gathered), **changed}))
    assert checked(text).counts["script"] == 2 and "<script>alert" not in text
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert json.loads(data) == curves


def test_curves_hold_every_seed_and_the_star(gathered, store):
    table = load.load("small", store.uri).table
    panel = next(p for p in gathered.curves if p["title"] == "svhn: RA, adversarial training")
    (line,) = (
        one for one in panel["lines"] if (one["theta"], one["pruning"]) == ("standard", "imp")
    )
    assert [point["sparsity"] for point in line["points"]] == sorted(
        point["sparsity"] for point in line["points"]
    )
    rows = table[(table["theta"] == "standard") & (table["dataset"] == "svhn")]
    rows = rows[(rows["regime"] == "adversarial")]
    for point, pruning, level in zip(
        line["points"], ("dense", "imp", "imp"), (0, 4, 13), strict=True
    ):
        own = rows[(rows["pruning"] == pruning) & (rows["level"] == level)].set_index("seed")["RA"]
        assert point["seeds"] == {"0": own[0], "1": own[1]}
        assert point["mean"] == pytest.approx(own.mean())
        assert point["std"] == pytest.approx(own.std())
    assert sum(point["star"] for point in line["points"]) == 1


def test_report_on_the_command_line(store, tmp_path, capsys):
    out = tmp_path / "report.html"
    assert main(["report", "--study", "small", "--tracking-uri", store.uri, "--out", str(out)]) == 0
    assert checked(out.read_text()).counts["h2"] == 8
    arguments = ["report", "--tracking-uri", store.uri, "--out"]
    assert main([*arguments, str(tmp_path / "made" / "for it" / "x.html")]) == 0
    assert main([*arguments, str(out / "x.html")]) == 2
    assert str(out) in capsys.readouterr().err


def test_a8_draws_similarity_and_kernels(found, study):
    rows, figure = named.over_evidence("a8", found, study)
    above, below = figure.axes
    assert list(above.get_lines()[0].get_ydata()) == [40.0]
    assert list(above.get_lines()[1].get_ydata()) == [10.0]
    assert above.get_lines()[0].get_label().count(" and ") == 1
    assert list(below.get_lines()[0].get_ydata()) == [5.0]
    assert set(rows["panel"]) == {"similarity", "kernels"}


def test_fig7_s_heat_is_the_share_of_weights_kept(found, study):
    rows, figure = named.over_evidence("fig7", found, study)
    assert set(rows["layer"]) == {"a", "b"}  # 1 x 1 kernels too
    image = figure.axes[0].images[0].get_array()
    assert np.allclose(image.data, np.arange(6).reshape(2, 3) / 9)
    assert image.mask.tolist() == [[True, False, False], [False] * 3]  # a kernel that is gone
    with pytest.raises(InputError, match="no mask at level 3"):
        named.over_evidence("fig7", found, study, level=3)


@pytest.mark.parametrize("name", ["fig2", "fig6", "fig7", "a8"])
def test_nothing_of_evidence_is_cut_off_at_a_narrow_width(found, study, name):
    _, figure = named.over_evidence(name, found, study)
    style.resize(figure, 3.3)
    figure.draw_without_rendering()
    left, _, right, _ = figure.get_tightbbox().extents
    assert left >= -0.02 and right <= 3.32


@pytest.mark.parametrize("name", ["fig6", "a9"])
def test_contours_show_the_surface_and_the_path(found, study, name):
    rows, figure = named.over_evidence(name, found, study)
    clean = rows[rows["kind"] == "clean"]
    assert clean["loss"].tolist() == pytest.approx((clean["x"] ** 2 + 2 * clean["y"] ** 2).tolist())
    (path,) = (one for one in figure.axes[0].get_lines() if one.get_marker() == "o")
    assert list(path.get_xdata()) == [1.0, 0.5]
    (star,) = (one for one in figure.axes[0].get_lines() if one.get_marker() == "*")
    assert [*star.get_xdata(), *star.get_ydata()] == [0.5, 0.0]


def test_fig2_is_the_surface_in_3d(found, study):
    rows, figure = named.over_evidence("fig2", found, study)
    attacked = rows[rows["kind"] == "attacked"]
    assert figure.axes[0].name == "3d" and "mean rise" in figure.axes[0].get_title()
    assert figure.axes[0].get_zlim()[1] >= attacked["loss"].max()


def test_a_figure_without_its_evidence_names_the_command(study, found):
    for name in named.OVER_EVIDENCE:
        with pytest.raises(InputError, match=f"{name}: no evidence yet: .* tuner evidence small"):
            named.over_evidence(name, None, study)
    with pytest.raises(InputError, match="is not among the artifacts"):
        found.arrays("evidence/kernels/none.npz")
