from qtt.runs.history import History
from qtt.statistics import pipeline_table
from qtt.statistics.certainty import Certainty, legend, ties
from qtt.types import Candidates, Result

KNOWN = {"examples": 400, "baseline": 0.95}


def _result(config_id: int, score: float, stderr: float | None = 0.01) -> Result:
    info = KNOWN if stderr is None else {**KNOWN, "stderr": stderr}
    return Result(config_id, 1, score, 1.0, info=info)


def test_ties_are_within_the_error_of_the_best() -> None:
    history = History([_result(0, 0.96, 0.5), _result(1, 0.98), _result(2, 0.975), _result(3, 0.9)])
    assert ties(history) == [2]  # the error of the best counts, not that of the other
    told = legend(history, "accuracy")
    assert "accuracy on 400 validation examples" in told
    assert "≈: within that of the best, a tie (1)" in told
    assert told.endswith("majority baseline: 0.9500.")


def test_nothing_is_made_up_where_the_objective_says_nothing() -> None:
    history = History([Result(0, 1, 0.5, 1.0, info={"stderr": True})])
    assert ties(history) == []
    assert legend(history, "accuracy") == "score: accuracy on validation examples."
    assert Certainty.of(next(iter(history))).beside(0.5) == "0.5000"
    assert "stderr" not in pipeline_table(history, Candidates(({"lr": 1},)))
    assert (ties(History()), legend(History(), "accuracy")) == ([], "")


def test_a_score_with_all_that_is_known_of_it() -> None:
    known = Certainty.of(_result(0, 0.95, 0.0109))
    assert known.beside(0.95, "images") == "0.9500 ± 0.0109 on 400 images (majority baseline 0.9500)"


def test_the_table_of_pipelines_has_errors_and_ties() -> None:
    history = History([_result(0, 0.9), _result(1, 0.98), _result(2, 0.975), _result(3, 0.972, None)])
    table = pipeline_table(history, Candidates(tuple({"lr": i} for i in range(4))))
    assert list(table["config_id"]) == [1, 2, 3, 0]
    assert list(table["tie"]) == [True, True, True, False]
    assert list(table["stderr"].dropna()) == [0.01] * 3
