"""Figures: what is drawn, and the pieces that other figures are made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

from qtt.benchmarking.plots import (
    draw_critical_difference,
    draw_mean_ranks,
    draw_regret,
    look,
    new_figure,
    tidy,
    time_axis,
    write_plots,
)
from qtt.benchmarking.tables import Comparison

Compared = Callable[..., Comparison]

STRANGE = ("_mine", "$a_b$", "漢字\x1b[0m", "a_name_of_an_optimizer_that_goes_on_and_on")


def _texts(figure):  # type: ignore[no-untyped-def]
    """All texts of a figure's axes, without the spaces around names."""
    return [text.get_text().strip("\u00a0") for text in figure.axes[0].texts]


def _legend(figure):  # type: ignore[no-untyped-def]
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("count", [2, 7, 12, 28])
def test_no_two_lines_look_alike(count: int) -> None:
    looks = [(look(i, count)["color"], look(i, count)["linestyle"]) for i in range(count)]
    assert len(set(looks)) == count


def test_few_lines_differ_in_style_too() -> None:
    assert len({look(i, 4)["linestyle"] for i in range(4)}) == 4


def test_the_pieces_of_a_figure() -> None:
    figure, axes = new_figure(5.0, 3.0)
    assert figure.get_size_inches().tolist() == [5.0, 3.0]
    time_axis(axes, 57_600.0)
    tidy(axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1 min", "15 min", "1 h", "4 h", "16 h"]
    assert axes.get_xlim() == (60.0, 57_600.0)
    assert axes.get_xscale() == "log"
    assert not axes.spines["top"].get_visible()
    assert axes.spines["left"].get_visible()
    assert axes.xaxis.get_gridlines()[0].get_visible()


def test_lines_are_means_and_bands_are_of_those_asked_for(compared: Compared) -> None:
    searches = compared({"a": (0.5, 0.7), "b": (0.1, 0.5)}).searches
    figure = draw_regret(searches, order=["b", "a"], banded=["b"])
    lines = figure.axes[0].get_lines()
    assert [float(line.get_ydata()[0]) for line in lines] == pytest.approx([0.3, 0.6])
    assert _legend(figure) == ["b", "a"]
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.3 - 1.96 * 0.2, 0.3 + 1.96 * 0.2))
    assert to_hex(band.get_facecolor()[0]) == to_hex(lines[0].get_color())
    assert len(draw_regret(searches).axes[0].collections) == 2


def test_mean_ranks_share_what_there_is(compared: Compared) -> None:
    figure = draw_mean_ranks(compared({"a": (0.5, 0.7), "b": (0.1, 0.5), "c": (0.1, 0.9)}).searches)
    assert [float(line.get_ydata()[7]) for line in figure.axes[0].get_lines()] == [2.5, 1.25, 2.25]


def test_the_diagram_joins_what_is_not_told_apart(compared: Compared) -> None:
    apart = {"worst": [0.9] * 20, "best": [0.1] * 20, "second": [0.3, 0.2] * 10, "third": [0.2, 0.3] * 10}
    figure = draw_critical_difference(compared(apart).searches, bold=["best"])
    texts = _texts(figure)
    # 20 datasets and 4 policies: 2.569 √(4·5/(6·20)) = 1.05, and second and third share 2.5
    assert "critical difference 1.0" in texts
    for text in (f"best{2 * chr(160)}1.0", f"4.0{2 * chr(160)}worst"):
        assert text in texts
    bars = [line for line in figure.axes[0].get_lines() if line.get_linewidth() == 4]
    assert [[round(float(x), 1) for x in bar.get_xdata()] for bar in bars] == [[2.5, 2.5]]
    bold = [text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"]
    assert [text.strip("\u00a0").split("\u00a0")[0] for text in bold] == ["best"]


def test_ranks_of_few_datasets_are_said_not_to_differ(compared: Compared) -> None:
    figure = draw_critical_difference(compared({"a": (0.1, 0.1), "b": (0.2, 0.2)}).searches)
    assert "critical difference 1.4: more than all ranks are apart" in _texts(figure)


def test_strange_names_are_drawn_as_they_are(compared: Compared, tmp_path: Path) -> None:
    comparison = compared({name: (0.1 * i, 0.2, 0.3) for i, name in enumerate(STRANGE)})
    write_plots(comparison, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"regret.png", "ranks.png"}
    names = [name.lstrip("\u200b") for name in _legend(draw_regret(comparison.searches))]
    assert names[:3] == ["_mine", "$a_b$", r"漢字\x1b[0m"]
    assert names[3].startswith("a_name_of") and names[3].endswith("_and_on") and "…" in names[3]


def test_one_policy_on_one_dataset_has_a_plot_without_bands(compared: Compared, tmp_path: Path) -> None:
    comparison = compared({"a": [0.5]})
    (tmp_path / "ranks.png").write_bytes(b"of an earlier comparison")
    write_plots(comparison, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["regret.png"]
    (band,) = draw_regret(comparison.searches).axes[0].collections
    assert not np.isfinite(np.concatenate([path.vertices for path in band.get_paths()] or [[np.nan]])).any()
