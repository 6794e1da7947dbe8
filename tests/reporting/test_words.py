import pytest

from qtt.reporting import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.42 s"),
        (9.7, "10 s"),
        (45.2, "45 s"),
        (59.7, "1 min"),
        (100, "1 min 40 s"),
        (3599.6, "1 h"),
        (4800, "1 h 20 min"),
        (7199, "2 h"),
        (90000, "25 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds).replace(words.SPACE, " ") == text


def test_counts_have_a_plural() -> None:
    assert [words.counted(n, w) for n, w in ((1, "epoch"), (2, "epoch"), (2, "class"), (0, "search"))] == [
        "1 epoch",
        "2 epochs",
        "2 classes",
        "0 searches",
    ]


def test_values_and_lists() -> None:
    assert [words.value(v) for v in (None, True, 1e-5, (0.9, 0.999), "adam")] == [
        "none",
        "yes",
        "1e-05",
        "0.9, 0.999",
        "adam",
    ]
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed("abcdefgh", most=4) == "a, b, c and 5 others"
    short = words.shortened("a_very_long_name_of_a_model_with_a_tag", 20)
    assert len(short) <= 20
    assert short.startswith("a_very_lo")
    assert short.endswith("ith_a_tag")
