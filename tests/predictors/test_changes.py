"""What predictors are told of: curves that grew, and fantasies that came and went."""

from qtt.predictors.changes import ChangedCurves
from qtt.predictors.fantasies import Fantasy
from qtt.runs.history import History
from qtt.types import Result


def test_changed_curves_are_those_that_were_observed_since() -> None:
    changed, history = ChangedCurves(), History()
    assert changed.read(history) == {}
    history.add(Result(3, 1, 0.5, 1.0))
    history.add(Result(1, 1, 0.5, 1.0))
    assert list(changed.read(history)) == [3, 1]
    assert changed.read(history) == {}
    assert changed.read(History(history)) == {}, "another object that says the same"
    history.add(Result(1, 1, 0.5, 1.0))
    assert changed.read(history) == {}, "told again"
    history.add(Result(1, 2, 0.7, 1.0))
    assert changed.read(history) == {1: history.curve(1)}


def test_fantasies_come_and_go() -> None:
    history, changed = History([Result(5, 1, 0.2, 1.0), Result(5, 2, 0.3, 1.0)]), ChangedCurves()
    fantasies = {7: Fantasy(3, 0.5), 5: Fantasy(4, 0.7)}
    read = changed.read(history, fantasies)
    assert [(i, [seen.fidelity for seen in curve]) for i, curve in read.items()] == [(5, [1, 2, 4]), (7, [3])]
    assert changed.read(history, fantasies) == {}
    assert changed.read(history, {5: fantasies[5]}) == {7: ()}
    history.add(Result(7, 1, 0.4, 1.0))
    assert set(changed.read(history)) == {7, 5}
    assert changed.read(history) == {}
    again = History(history)
    again.add(Result(7, 1, 0.3, 1.0))
    assert set(changed.read(again)) == {7}
