"""Whatever an objective does: its step ends, its journal entry is right, and nothing of it is left."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostile
from clocks import HOURS, movable_clock
from qtt.evaluation import Evaluator, make_evaluator, training_process
from qtt.evaluation import process as process_module
from qtt.types import Result, Status, TaskInfo, Trial
from waiting import processes_with

MARK = "QTT_TEST_MARK"

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """What the training process and all that it starts have in their environment."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    return f"{MARK}={value}"


@pytest.fixture
def evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Evaluator]:
    """Its processes get little time to end by themselves."""
    monkeypatch.setattr(training_process, "GRACE", 0.2)
    made = make_evaluator(hostile.hostile, tmp_path / "search.log", "process")
    yield made
    made.close()


def _task(deed: str | None = None) -> TaskInfo:
    return TaskInfo(path=Path(), settings={} if deed is None else {"deed": deed})


def _steps(evaluator: Evaluator, trial: Trial, deed: str | None = None) -> Iterator[Result]:
    return evaluator.evaluate(trial, _task(deed), HOURS)


@pytest.mark.parametrize("deed", [*hostile.LEAVES, *hostile.GOES_ON])
def test_a_step_is_cut_off_and_nothing_is_left(
    evaluator: Evaluator, deed: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = movable_clock(monkeypatch, process_module)
    steps = _steps(evaluator, Trial(0, {}, 2), deed)
    assert next(steps) == Result(0, 1, 0.5, 0.1)
    assert processes_with(mark)
    clock.sleep(HOURS)
    (cut_off,) = steps
    assert cut_off.status is Status.TIMEOUT
    assert processes_with(mark) == []
    assert [result.succeeded for result in _steps(evaluator, Trial(1, {}, 1))] == [True]


@pytest.mark.parametrize("deed", ["thread", "executor", "holds the interpreter"])
def test_the_end_of_its_time_waits_for_no_thread(
    evaluator: Evaluator, deed: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_process, "GRACE", 90.0)
    clock = movable_clock(monkeypatch, process_module)
    steps = _steps(evaluator, Trial(0, {}, 2), deed)
    assert next(steps).succeeded
    clock.sleep(HOURS)
    begin = time.monotonic()
    assert [result.status for result in steps] == [Status.TIMEOUT]
    assert time.monotonic() - begin < 60.0
    assert processes_with(mark) == []


@pytest.mark.parametrize("deed", hostile.LEAVES)
def test_a_step_that_leaves_something_behind_succeeds_and_the_end_ends_all(
    evaluator: Evaluator, deed: str, mark: str
) -> None:
    assert [result.succeeded for result in _steps(evaluator, Trial(0, {}, 1), deed)] == [True]
    assert [result.succeeded for result in _steps(evaluator, Trial(1, {}, 1))] == [True]
    evaluator.close()
    assert processes_with(mark) == []


@pytest.mark.parametrize("deed", hostile.ENDS)
def test_a_step_that_ends_itself_fails_with_a_reason(evaluator: Evaluator, deed: str, mark: str) -> None:
    (failed,) = _steps(evaluator, Trial(0, {}, 1), deed)
    assert failed.status is Status.FAILED
    assert failed.info["reason"]
    assert len(failed.info.get("details", "")) < 50_000
    assert [result.succeeded for result in _steps(evaluator, Trial(1, {}, 1))] == [True]
    evaluator.close()
    assert processes_with(mark) == []
