"""The page: what it says of several comparisons, and that it needs nothing and believes nothing."""

import re
from collections.abc import Callable

import pytest

from qtt.benchmarking.page import benchmark_page
from qtt.benchmarking.tables import Comparison
from web_pages import WebPage

Compared = Callable[..., Comparison]

EVIL = '<script>alert("x")</script>'


SIX = {
    "random": (0.6, 0.7, 0.8, 0.9, 0.6, 0.7),
    "quick": (0.1, 0.2, 0.3, 0.4, 0.1, 0.2),
    "asha": (0.2, 0.15, 0.5, 0.7, 0.5, 0.7),
}
"""Regret on six datasets."""


def test_a_comparison_is_told_in_tables_and_figures(compared: Compared) -> None:
    settings = [("model hub", "table4")]
    read = WebPage(benchmark_page(compared(SIX, seeds=2), "meta_dataset/tables/small", settings))
    assert "random, quick and asha on small" in read.text
    for text in ("meta_dataset/tables/small", "6 datasets", "16 min (960 s)", "model hub table4", "0, 1"):
        assert text in read.text
    assert [alt.split()[0:2] for alt in read.figures] == [
        ["Mean", "regret"],
        ["Mean", "rank"],
        ["Mean", "ranks"],
    ]
    assert "After 16 min: quick 0.217, asha 0.458 and random 0.717." in read.figures[0]
    heads, *rows = read.tables["Regret of each policy"]
    assert heads[1:] == [
        "at 15 s",
        "at 1 min",
        "at 4 min",
        "at 16 min",
        "auc",
        "mean rank of auc",
        "ms a decision",
    ]
    assert rows[0] == ["quick", *["0.217"] * 4, "0.217 ± 0.048", "1.17", "2.0"]
    assert [row[0] for row in rows] == ["quick", "asha", "random"]


def test_differences_are_from_the_best(compared: Compared) -> None:
    read = WebPage(benchmark_page(compared(SIX), "small"))
    heads, asha, random = read.tables["Each policy against quick, which has the lowest auc"]
    assert heads == ["policy", "auc less quick's", "95 % interval", "better on", "worse on", "p", "p, Holm"]
    # all six are worse: p = 2/2⁶; of asha one is better by the smallest rank: p = 4/2⁶
    assert random == ["random", "+0.500", "+0.500 to +0.500", "0 of 6", "6 of 6", "0.031", "0.062"]
    assert asha[0:2] + asha[3:] == ["asha", "+0.242", "1 of 6", "5 of 6", "0.062", "0.062"]
    assert "no corrected p can be below 0.062" in read.text


def test_enough_datasets_need_no_warning(compared: Compared) -> None:
    eight = {"a": [0.1] * 8, "b": [0.2] * 8}
    read = WebPage(benchmark_page(compared(eight), "small"))
    assert "evidence needs more" not in read.text
    assert "tell them apart" in read.text


def test_the_lowest_of_each_dataset_is_marked(compared: Compared) -> None:
    read = WebPage(benchmark_page(compared({"a": (0.3, 0.2), "b": (0.3, 0.1)}, ["first", "second"]), "small"))
    heads, first, second = read.tables["auc by dataset"]
    assert heads == ["dataset", "b", "a"]
    assert first == ["first", "● 0.300", "● 0.300"]
    assert second == ["second", "● 0.100", "0.200"]


def test_a_single_policy_has_no_ranks_and_no_tests(compared: Compared) -> None:
    read = WebPage(benchmark_page(compared({"quick": (0.1, 0.3)}), "small"))
    assert len(read.figures) == 1
    assert set(read.tables) == {"Regret of each policy", "auc by dataset"}
    assert "A single policy has no ranks" in read.text
    assert "A single policy differs from none" in read.text
    assert "rank" not in " ".join(read.tables["Regret of each policy"][0])
    assert "●" not in read.text


def test_a_single_dataset_has_no_errors_and_no_tests(compared: Compared) -> None:
    read = WebPage(benchmark_page(compared({"quick": [0.1], "random": [0.4]}), "small"))
    assert len(read.figures) == 2
    assert "no intervals, no tests" in read.text
    assert read.tables["Regret of each policy"][1][5] == "0.100"
    assert "nan" not in read.text.lower()


def test_one_policy_one_dataset_one_seed(compared: Compared) -> None:
    read = WebPage(benchmark_page(compared({"quick": [0.1]}), "small"))
    assert read.tables["auc by dataset"] == [["dataset", "quick"], ["D0", "0.100"]]
    assert "1 dataset, of each over 1 seed" in read.text
    assert "nan" not in read.text.lower()


def test_policies_that_are_the_same_everywhere(compared: Compared) -> None:
    read = WebPage(benchmark_page(compared(dict.fromkeys("ab", (0.2, 0.4, 0.3))), "small"))
    _, row = read.tables["Each policy against a, which has the lowest auc"]
    assert row == ["b", "+0.000", "+0.000 to +0.000", "0 of 3", "0 of 3", "1", "1"]


@pytest.mark.parametrize("policies", [1, 3, 15])
def test_the_page_refers_to_nothing_outside(compared: Compared, policies: int) -> None:
    html = benchmark_page(compared({f"p{i}": (0.1 + 0.01 * i, 0.5) for i in range(policies)}), "small")
    read = WebPage(html)
    assert read.references
    assert all(reference.startswith(("data:", "#")) for reference in read.references)
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", html)
    assert "url(" not in re.sub(r"url\(#[^)]+\)", "", html)
    assert len(read.ids) == len(set(read.ids))
    assert {reference[1:] for reference in read.references if reference.startswith("#")} <= set(read.ids)


def test_everything_from_outside_is_escaped(compared: Compared) -> None:
    names = [EVIL, "a & b", "line\nend", "\x1b[31m", '"quoted"', "漢字"]
    regret = {name: [0.1 + 0.01 * i] * 6 for i, name in enumerate((EVIL, "_mine", "$x_y$", "\x00"))}
    html = benchmark_page(compared(regret, names), f"tables/{EVIL}", [("model hub", EVIL), (EVIL, "1")])
    assert html.count("<script>") == 1  # ours
    assert "alert(&quot;x&quot;)" in html
    assert not {"\x00", "\x1b"} & set(html)
    read = WebPage(html)
    assert [row[0] for row in read.tables["auc by dataset"][1:]] == [
        *(EVIL, "a & b", r"line\nend", r"\x1b[31m", '"quoted"', "漢字")
    ]
    assert [row[0] for row in read.tables["Regret of each policy"][1:]] == [EVIL, "_mine", "$x_y$", r"\x00"]


def test_the_same_comparison_gives_the_same_page(compared: Compared) -> None:
    assert benchmark_page(compared(SIX), "small") == benchmark_page(compared(SIX), "small")
