"""What results tell of workers' time, against sums by hand."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtt.evaluation.timeline import Timeline, WorkerTime
from qtt.runs.journal import Entry
from qtt.types import Result, Status

NAN = float("nan")


def _entry(elapsed: float, cost: float, worker: Any = 0, config_id: int = 0, **info: Any) -> Entry:
    return Entry(Result(config_id, 1, 0.5, cost, info={"worker": worker, **info}), elapsed)


def test_time_is_busy_or_before_between_or_after() -> None:
    failed = Entry(Result(2, 1, NAN, 1.0, Status.FAILED, {"worker": 1, "gpu": "1"}), 9.0)
    timeline = Timeline(
        [
            _entry(4.0, 3.0, 0, gpu="0"),
            _entry(6.0, 4.0, 1, config_id=1, gpu="1"),
            _entry(8.0, 2.5, 0, gpu="0"),
            failed,
        ]
    )
    assert timeline.times(elapsed=10.0) == [
        WorkerTime(0, "0", start=1.0, busy=5.5, between=1.5, end=2.0, epochs=2, pipelines=1),
        WorkerTime(1, "1", start=2.0, busy=5.0, between=2.0, end=1.0, epochs=1, pipelines=2),
    ]
    assert timeline.utilisation == pytest.approx(10.5 / 17.0)
    assert timeline.utilisation_of(1) == pytest.approx(5.0 / 9.0)


def test_a_step_that_was_cut_off_counts_only_what_its_epochs_have_not() -> None:
    cut_off = Entry(Result(0, 3, NAN, 5.0, Status.TIMEOUT, {"worker": 0}), 5.0)
    timeline = Timeline([_entry(2.0, 2.0), _entry(4.0, 2.0), cut_off])
    assert [span.seconds for span in timeline.spans] == [2.0, 2.0, 1.0]


def test_before_any_result_nothing_is_known() -> None:
    timeline = Timeline()
    assert timeline.utilisation is None
    assert timeline.utilisation_of(0) is None
    assert timeline.times(10.0) == []


@pytest.mark.parametrize("worker", [None, -1, "0", 1.5, [0]])
def test_what_is_no_worker_counts_as_the_first(worker: Any) -> None:
    assert Timeline([_entry(2.0, 1.0, worker)]).workers == [0]


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(1e-3, 1e7), st.integers(0, 3)), min_size=1, max_size=30)
)
def test_no_spans_of_a_worker_overlap_and_all_time_is_accounted_for(
    told: list[tuple[float, float, int]],
) -> None:
    told = sorted(told)
    end = told[-1][0]
    timeline = Timeline([_entry(elapsed, cost, worker) for elapsed, cost, worker in told])
    for worker in timeline.workers:
        own = [span for span in timeline.spans if span.worker == worker]
        assert all(span.begin <= span.end for span in own)
        assert all(a.end <= b.begin for a, b in itertools.pairwise(own))
    for time in timeline.times(end):
        assert time.available == pytest.approx(end, abs=1e-6)
    assert timeline.utilisation is None or 0 <= timeline.utilisation <= 1 + 1e-9
