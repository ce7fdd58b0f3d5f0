"""The paper's figures by what they plot: lines, bands, stars and bars against the table's means."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from analysis.figures import named, style
from analysis.verdict.one_std import extreme
from analysis.verdict.results import Results
from analysis.verdict.rules import non_inferiority
from search_spaces.errors import InputError
from search_spaces.levels import sparsity
from tests.support.synthetic import large_study, table

LEVELS = (0, 4, 9, 13)


@pytest.fixture(scope="module")
def study():
    return large_study(levels=LEVELS, fractions=[1.0, 0.1], seeds=[0, 1, 2])


@pytest.fixture(scope="module")
def transfers(study):
    return table(study)


def drawn(name, transfers, study, level=None):
    return named.over_scores(name, Results(study, transfers), level=level)


def mean_std(transfers, score, regime, **labels):
    """Means and sample stds in percent by level, the dense network first."""
    rows = transfers[transfers["regime"] == regime]
    for name, value in labels.items():
        wanted = [value, "dense"] if name == "pruning" else [value]
        rows = rows[rows[name].isin(wanted)]
    found = 100 * rows.groupby("level")[score].agg(["mean", "std"])
    return found["mean"].tolist(), found["std"].tolist()


def line(axes, label):
    (found,) = [one for one in axes.get_lines() if one.get_label() == label]
    return found


def marks(axes, look):
    """Where the marks that look like STAR or RING stand, one after the other."""
    return [
        list(one.get_xdata())
        for one in axes.get_lines()
        if (one.get_marker(), one.get_markersize()) == (look["marker"], look["markersize"])
    ]


def dashed(axes):
    return {
        round(float(one.get_ydata()[0]), 6)
        for one in axes.get_lines()
        if one.get_linestyle() == "--"
    }


def test_fig3_has_a_panel_for_each_metric_and_dataset(study, transfers):
    rows, figure = drawn("fig3", transfers, study)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["cifar10", "cifar100", "svhn"]
    assert len(figure.axes) == 9 and set(rows["fraction"]) == {1.0}
    own = dict(theta="adversarial", dataset="cifar100", fraction=1.0)
    for row, (score, regime) in enumerate((("SA", "standard"), ("SA", "adversarial"))):
        axes = figure.axes[3 * row + 1]
        mean, std = mean_std(transfers, score, regime, pruning="imp", **own)
        one = line(axes, "adversarial")
        assert list(one.get_xdata()) == [0, 1, 2, 3]
        assert list(one.get_ydata()) == pytest.approx(mean)
        assert round(mean[0], 6) in dashed(axes)
        red = line(axes, "adversarial random")
        random, _ = mean_std(transfers, score, regime, pruning="random", **own)
        assert list(red.get_ydata()) == pytest.approx(random[1:])
        assert to_hex(red.get_color()).upper() == style.RANDOM_COLOUR
        # A band's outline passes through mean - std and mean + std at every level.
        outline = {round(y, 4) for b in axes.collections for y in b.get_paths()[0].vertices[:, 1]}
        assert {round(m + s, 4) for m, s in zip(mean, std, strict=True)} <= outline
        assert {round(m - s, 4) for m, s in zip(mean, std, strict=True)} <= outline
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels == [f"{100 * sparsity(level):.2f}" for level in LEVELS]


def test_fig3_marks_what_each_rule_arrives_at(study, transfers):
    only = transfers[(transfers["dataset"] == "svhn") & (transfers["fraction"] == 1)]
    # A margin that most levels keep, so that there is something to show.
    content = study.model_dump(exclude_none=True)
    for task in content["downstream"]:
        task["margin"] = 0.2
    study = type(study).model_validate(content)
    rows, figure = drawn("fig3", only, study)
    own = only[only["pruning"].isin(["dense", "imp"])]
    verdicts = {"extreme": extreme(own), "shown": non_inferiority(study, own)}
    for (name, verdict), look in zip(verdicts.items(), (style.STAR, style.RING), strict=True):
        pruned = verdict[verdict["level"] > 0]
        assert len(pruned)
        levels = rows[rows[name] & (rows["pruning"] == "imp")].set_index("theta")["level"].to_dict()
        assert levels == pruned.set_index("theta")["level"].to_dict()
        assert marks(figure.axes[2], look) == [[LEVELS.index(k)] for k in pruned["level"]]


def test_what_a_flag_stands_on_is_not_marked(study, transfers):
    only = transfers[(transfers["dataset"] == "svhn") & (transfers["fraction"] == 1)]
    results = Results(study, only)
    free = style.placed(results)
    (won, *_) = free[free["extreme"]].to_dict("records")
    cell = {name: won[name] for name in ("theta", "pruning", "dataset", "fraction", "level")}
    flags = pd.DataFrame([{**cell, "regime": "adversarial", "key": "0123456789abcdef"}])
    left = style.placed(results, flags)
    assert free["extreme"].sum() - left["extreme"].sum() == 1
    assert not (left[left["extreme"]][list(cell)] == pd.Series(cell)).all(axis=1).any()


def test_fig4_compares_the_prunings_of_each_theta(study, transfers):
    only = transfers[(transfers["theta"] == "adversarial") & (transfers["dataset"] == "svhn")]
    rows, figure = drawn("fig4", only, study)
    assert len(figure.axes) == 3
    robust = figure.axes[2]
    for pruning in ("imp", "imp-adversarial", "random"):
        mean, _ = mean_std(only, "RA", "adversarial", pruning=pruning, fraction=1.0)
        assert list(line(robust, pruning).get_ydata()) == pytest.approx(mean)
    assert to_hex(line(robust, "random").get_color()).upper() == style.RANDOM_COLOUR
    assert len(dashed(robust)) == 1 and set(rows["pruning"]) == set(study.pruning)


def test_fig4_draws_no_line_through_levels_that_were_not_tested(study, transfers):
    only = transfers[(transfers["theta"] == "adversarial") & (transfers["dataset"] == "svhn")]
    skipped = only[~((only["pruning"] == "random") & (only["level"] == 9))]
    _, figure = drawn("fig4", skipped, study)
    heights = line(figure.axes[2], "random").get_ydata()
    assert [bool(y == y) for y in heights] == [True, True, False, True]


def test_a_width_keeps_type_readable(study, transfers):
    _, figure = drawn("fig3", transfers, study)
    style.resize(figure, 5.5)
    assert figure.get_size_inches()[0] == 5.5
    assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 6
    pdf = style.content(figure, "fig3.pdf")
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf


@pytest.mark.parametrize("name", ["fig3", "fig4", "a10"])
def test_nothing_is_cut_off_at_a_narrow_width(study, transfers, name):
    only = transfers[transfers["dataset"] == "svhn"]
    one = only[only["theta"] == "adversarial"] if name == "fig4" else only
    _, figure = drawn(name, one, study, level=13 if name == "a10" else None)
    style.resize(figure, 3.3)
    figure.draw_without_rendering()
    left, bottom, right, top = figure.get_tightbbox().extents
    high = figure.get_size_inches()[1]
    assert min(left, bottom) >= -0.02 and right <= 3.32 and top <= high + 0.02


def test_fig5_has_a_column_for_each_fraction(study, transfers):
    only = transfers[transfers["dataset"] == "cifar10"]
    _, figure = drawn("fig5", only, study)
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        "cifar10",
        "cifar10, 10 % of the data",
    ]
    mean, _ = mean_std(only, "RA", "adversarial", theta="standard", pruning="imp", fraction=0.1)
    assert list(line(figure.axes[5], "standard").get_ydata()) == pytest.approx(mean)


def test_a10_s_bars_are_the_means_at_one_level(study, transfers):
    rows, figure = drawn("a10", transfers, study, level=13)
    axes = figure.axes[6]  # cifar10, RA
    heights = {
        bars.get_label(): [bar.get_height() for bar in bars]
        for bars in axes.containers
        if hasattr(bars, "patches")
    }
    assert list(heights) == ["dense", "imp", "imp-adversarial", "one-shot", "random"]
    for pruning in ("imp", "random"):
        own = dict(pruning=pruning, theta="standard", dataset="cifar10", fraction=1.0)
        mean, _ = mean_std(transfers, "RA", "adversarial", **own)
        assert (heights["dense"][0], heights[pruning][0]) == pytest.approx((mean[0], mean[-1]))
    assert set(rows["at"].round(6)) == {round(sparsity(13), 6)}


def test_a10_stands_at_the_extreme_double_wins(study, transfers):
    rows, _ = drawn("a10", transfers, study)
    ticket = rows[(rows["bar"] == "imp") & (rows["metric"] == "RA_adversarial")]
    levels = style.placed(Results(study, transfers))
    levels = levels[levels["extreme"] & (levels["pruning"] == "imp") & (levels["fraction"] == 1)]
    assert dict(zip(ticket["dataset"] + ticket["theta"], ticket["level"], strict=True)) == {
        row.dataset + row.theta: row.level for row in levels.itertuples() if row.level
    }


def test_what_a_figure_needs_is_said(study, transfers):
    with pytest.raises(InputError, match="fig5 compares data fractions"):
        drawn("fig5", transfers[transfers["fraction"] == 1], study)
    with pytest.raises(InputError, match="fig4 compares prunings"):
        drawn("fig4", transfers[transfers["pruning"].isin(["dense", "imp"])], study)
    with pytest.raises(InputError, match="a10: no finished ticket is at level 3"):
        drawn("a10", transfers, study, level=3)
    random = study.model_copy(update={"pruning": {"random": study.pruning["random"]}})
    with pytest.raises(InputError, match="no pruning but random ones"):
        drawn("fig3", transfers, random)


def test_a_figure_is_written_four_ways_and_twice_the_same(study, transfers, tmp_path):
    only = transfers[transfers["dataset"] == "svhn"]
    rows, figure = drawn("fig3", only, study)
    folder = tmp_path / "new" / "figures"
    paths = named.write("fig3", rows, figure, folder)
    assert [path.name for path in paths] == ["fig3.png", "fig3.pdf", "fig3.svg", "fig3.csv"]
    heads = [path.read_bytes()[:5] for path in paths]
    assert heads[:3] == [b"\x89PNG\r", b"%PDF-", b"<?xml"]
    behind = pd.read_csv(paths[3])
    pd.testing.assert_series_equal(
        behind["RA_adversarial_mean"], rows.reset_index()["RA_adversarial_mean"]
    )
    first = paths[2].read_bytes()
    assert b"SA-ST" in first
    named.write("fig3", *drawn("fig3", only, study), folder)
    assert paths[2].read_bytes() == first
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--out .*file: cannot be written"):
        named.write("fig3", rows, figure, tmp_path / "file")
