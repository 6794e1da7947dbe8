"""The best probe beside the best finetuned pipeline."""

from qtt.runs.history import History
from qtt.space.horizon import probe_of
from qtt.statistics.probes import BesideProbes
from qtt.types import Candidates, Result

CANDIDATES = Candidates((probe_of("a"), probe_of("b"), {"model": "b", "head_init": "probe"}, {"model": "a"}))


def beside(*results: Result) -> BesideProbes | None:
    return BesideProbes.of(History(results), CANDIDATES)


def test_the_best_of_both_kinds_stand_side_by_side() -> None:
    found = beside(
        Result(0, 1, 0.6, 1.0),
        Result(1, 1, 0.8, 1.0),
        Result(2, 1, 0.7, 1.0),
        Result(2, 2, 0.9, 1.0),
        Result(3, 1, 0.2, 1.0),
    )
    assert found == BesideProbes((1, 0.8), (2, 0.9))
    assert found.in_words(CANDIDATES) == "Linear probe: 0.8000 (#1 b) · best finetuned: 0.9000 (#2 b)"


def test_before_anything_was_finetuned() -> None:
    found = beside(Result(0, 1, 0.6, 1.0))
    assert found is not None
    assert found.in_words(CANDIDATES) == "Linear probe: 0.6000 (#0 a) · best finetuned: none yet"


def test_a_search_without_probes_says_nothing() -> None:
    assert beside(Result(3, 1, 0.2, 1.0)) is None
    assert beside() is None
