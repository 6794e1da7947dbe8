import re
from typing import TYPE_CHECKING

import pytest

from qtt.reporting.charts import Chart, chart, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _chart(name: str, label: str = "accuracy") -> Chart:
    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1, 2], [0.1, 0.5, 0.6], "-o", label=label)
        axes.set(xlabel=label, title=label)
        axes.legend()

    return chart(name, "A chart", plot, alt="A line that rises.")


def _ids(svg: str) -> set[str]:
    return set(re.findall(r'\sid="([^"]+)"', svg))


def test_the_same_plot_gives_the_same_bytes() -> None:
    assert _chart("a") == _chart("a")


def test_ids_of_two_charts_on_a_page_are_different() -> None:
    first, second = _chart("a").inline, _chart("b").inline
    assert _ids(first)
    assert not _ids(first) & _ids(second)


def test_references_within_a_chart_still_lead_somewhere() -> None:
    svg = _chart("a").inline
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
    assert used
    assert {first or second for first, second in used} <= _ids(svg)


def test_an_inline_chart_refers_to_nothing_outside_and_fits_any_width() -> None:
    svg = _chart("a").inline
    assert svg.startswith("<svg")
    assert "viewBox" in svg[:200]
    assert 'width="' not in svg[:200]
    for outside in ("http", "<!DOCTYPE", "<?xml", "<metadata", "<style"):
        assert outside not in svg


def test_text_is_never_taken_for_formulas_and_is_escaped() -> None:
    drawn = _chart("a", "$_{bad}^ & <b>花</b>")  # warnings are errors: no glyph may be complained about
    assert "$_{bad}^ &amp; &lt;b&gt;花" in drawn.svg
    assert drawn.png.startswith(b"\x89PNG")
    assert b"Software" not in drawn.png


@pytest.mark.parametrize("high", [3.0, 20.0, 400.0, 1e7])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_log_axes_print_plain_numbers_that_are_few_and_some(high: float, axis: str) -> None:
    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        values = [0.9, 1.5, high]
        axes.plot(values, values, "o")
        getattr(axes, f"set_{axis}scale")("log")
        getattr(axes, f"set_{'y' if axis == 'x' else 'x'}ticks")([])

    drawn = chart("a", "A chart", plot, alt="")
    assert "mathdefault" not in drawn.svg
    assert "$" not in drawn.svg
    labels = [float(text) for text in re.findall(r">([^<>]*)</text>", drawn.svg)]
    assert labels == sorted(labels) or labels == sorted(labels, reverse=True)
    assert 2 <= len([label for label in labels if 0.5 <= label <= 2 * high]) <= 12


def test_long_labels_are_wrapped_and_lose_nothing() -> None:
    text = "optimizer=quick_pretrained, narrow = adam, sgd, lr = 0.001"
    lines = wrapped(text, 24).split("\n")
    assert " ".join(lines).replace("\u00a0", " ") == text
    assert any("lr = 0.001" in line.replace("\u00a0", " ") for line in lines)
    assert max(map(len, lines)) <= 27  # its longest word
    assert wrapped("", 10) == ""
