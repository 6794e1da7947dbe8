import pytest

from qtt.benchmarking.wording import counted, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (59, "59 s"), (60, "1 min"), (900, "15 min"), (3600, "1 h"), (57600, "16 h")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_plurals():
    assert [counted(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert counted(3, "search") == "3 searches"
