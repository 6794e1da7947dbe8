from qtt.runs.history import History
from qtt.types import Result, Status


def _failed(config_id: int, fidelity: int) -> Result:
    return Result(config_id, fidelity, float("nan"), 1.0, Status.FAILED, {"reason": "memory"})


def test_an_empty_history_has_no_incumbent() -> None:
    history = History()
    assert history.incumbent is None
    assert history.observed == []
    assert history.fidelity(0) == 0
    assert history.best(0) is None


def test_scores_of_zero_and_below_make_an_incumbent() -> None:
    history = History([Result(0, 1, -2.0, 1.0)])
    assert history.incumbent is not None
    assert history.incumbent.score == -2.0
    history.add(Result(1, 1, 0.0, 1.0))
    assert history.incumbent.config_id == 1


def test_of_a_pipelines_equal_scores_the_last_is_the_best() -> None:
    history = History([Result(1, 1, 0.5, 1.0), Result(1, 2, 0.5, 1.0), Result(1, 3, 0.4, 1.0)])
    best = history.best(1)
    assert history.incumbent is not None
    assert best is not None
    assert history.incumbent.fidelity == best.fidelity == 2


def test_of_equal_pipelines_the_first_is_the_incumbent_and_ranks_first() -> None:
    history = History(
        [Result(0, 1, 0.4, 1.0), Result(1, 2, 0.5, 1.0), Result(0, 2, 0.5, 1.0), Result(0, 3, 0.5, 1.0)]
    )
    assert history.incumbent is not None
    assert history.incumbent.config_id == 1
    assert history.ranking() == [1, 0]
    history.add(Result(0, 3, 0.5, 1.0))
    history.add(Result(1, 3, 0.5, 1.0))
    assert (history.incumbent.config_id, history.incumbent.fidelity) == (1, 3)
    assert history.ranking() == [1, 0]


def test_failures_and_timeouts_are_no_observations() -> None:
    history = History(
        [Result(0, 1, 0.5, 1.0), _failed(0, 2), Result(1, 1, float("nan"), 1.0, Status.TIMEOUT)]
    )
    assert history.failed == {0: "memory"}
    assert history.observed == [0]
    assert history.fidelity(0) == 1
    assert history.evaluations == 1
    assert len(history) == 3


def test_curves_are_sorted_and_a_repeated_epoch_replaces() -> None:
    history = History([Result(0, 2, 0.6, 1.0), Result(0, 1, 0.5, 1.0), Result(0, 2, 0.7, 2.0)])
    assert [(seen.fidelity, seen.score, seen.cost) for seen in history.curve(0)] == [
        (1, 0.5, 1.0),
        (2, 0.7, 2.0),
    ]


def test_ranking_is_by_the_best_epoch() -> None:
    history = History(
        [Result(0, 1, 0.5, 1.0), Result(1, 1, 0.9, 1.0), Result(1, 2, 0.1, 1.0), Result(2, 1, 0.7, 1.0)]
    )
    assert history.ranking() == [1, 2, 0]
    best = history.best(1)
    assert best is not None
    assert best.fidelity == 1


def test_a_curve_is_the_same_object_until_it_changes() -> None:
    history = History([Result(0, 1, 0.5, 1.0), Result(1, 1, 0.5, 1.0)])
    curve = history.curve(0)
    history.add(Result(1, 2, 0.6, 1.0))
    history.add(_failed(0, 2))
    assert history.curve(0) is curve
    history.add(Result(0, 2, 0.6, 1.0))
    assert [seen.fidelity for seen in history.curve(0)] == [1, 2]
    assert history.latest is not None
    assert (history.latest.config_id, history.latest.fidelity) == (0, 2)
    assert history.evaluations == 4


def test_steps_that_were_cut_off_teach_nothing() -> None:
    cut_off = Result(0, 2, float("nan"), 1.0, Status.TIMEOUT)
    failed = Result(1, 1, float("nan"), 1.0, Status.FAILED)
    assert History([Result(0, 1, 0.5, 1.0), cut_off, failed, cut_off]).learned == 2
