import numpy as np

from qtt.optimizers.progress import Progress
from qtt.runs.history import History
from qtt.types import Result, Status

CONFIGS = ({"lr": 1.0}, {"schedule_epochs": 3}, {"linear_probing": True, "head_init": "probe"}, {}, {})
RESULTS = (
    Result(0, 1, 0.5, 1.0),
    Result(0, 2, 0.5, 1.0),
    Result(1, 3, 0.5, 1.0),
    Result(2, 1, 0.5, 1.0),
    Result(3, 1, float("nan"), 1.0, Status.FAILED),
    Result(4, 2, float("nan"), 1.0, Status.TIMEOUT),
    Result(0, 1, 0.6, 1.0),
)


def test_pipelines_end_where_their_schedules_do_and_failures_at_once():
    progress = Progress.of(CONFIGS, 10, History(RESULTS))
    assert progress.last.tolist() == [10, 3, 1, 10, 10]
    assert progress.done.tolist() == [2, 3, 1, 0, 0]
    assert progress.failed.tolist() == [False, False, False, True, False]
    assert progress.live(()) == [0, 4]
    assert progress.live({4}) == [0]
    assert progress.next_fidelity(np.array([0, 1, 4]), 4).tolist() == [4, 3, 4]
    assert progress.next_fidelity(np.array([0, 4]), 1).tolist() == [3, 1]


def test_candidates_that_come_later_are_the_same_as_those_of_the_beginning():
    grown = Progress(CONFIGS[:2], 10)
    for result in RESULTS[:3]:
        grown.enter(result)
    grown.grow(CONFIGS[2:])
    for result in RESULTS[3:]:
        grown.enter(result)
    whole = Progress.of(CONFIGS, 10, History(RESULTS))
    for name in ("done", "last", "failed"):
        np.testing.assert_array_equal(getattr(grown, name), getattr(whole, name))
