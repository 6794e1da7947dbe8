"""Pools of one worker and of several keep the same promises."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import objectives
from qtt.errors import ConfigError
from qtt.evaluation import make_evaluator, pool
from qtt.evaluation.pool import Event, OneWorker, Pool, Workers, make_pool, own_device, worker_count
from qtt.support import machine
from qtt.types import Result, Status, TaskInfo, Trial

TASK = TaskInfo(path=Path())


@pytest.fixture(params=["inline", "process", "two"])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pool]:
    isolation, count = ("process", 2) if request.param == "two" else (request.param, 1)
    made = make_pool(objectives.good, tmp_path / "search.log", isolation, count)
    yield made
    made.close()


def until_free(workers: Pool, running: int = 1) -> list[Event]:
    """All that is said until so many steps have ended."""
    events: list[Event] = []
    while sum(event.result is None for event in events) < running:
        events.append(workers.next())
    return events


def test_results_come_before_the_end_of_their_step(workers: Pool) -> None:
    workers.start()
    for fidelity in (1, 2):
        workers.submit(0, Trial(3, {}, fidelity), TASK, None)
        result, end = until_free(workers)
        assert result == Event(0, Result(3, fidelity, objectives.score(3, fidelity), 0.01))
        assert end == Event(0, None)


def test_a_pool_that_was_closed_starts_again(workers: Pool) -> None:
    workers.submit(0, Trial(0, {}, 1), TASK, None)
    until_free(workers)
    workers.close()
    workers.submit(0, Trial(1, {}, 1), TASK, None)
    assert [event.result is None for event in until_free(workers)] == [False, True]


def test_several_train_at_once_and_each_says_who_it_is(tmp_path: Path) -> None:
    """Each waits for a file that the other writes: one after the other they would wait for ever."""
    workers = make_pool(objectives.meeting, tmp_path / "search.log", "process", 2)
    try:
        for worker in range(2):
            config = {"own": str(tmp_path / f"{worker}"), "other": str(tmp_path / f"{1 - worker}")}
            workers.submit(worker, Trial(worker, config, 1), TASK, 600.0)
        events = until_free(workers, 2)
    finally:
        workers.close()
    assert Counter((e.worker, e.result is None) for e in events) == Counter(
        {(0, False): 1, (0, True): 1, (1, False): 1, (1, True): 1}
    )
    assert all(event.result.succeeded for event in events if event.result is not None)
    assert all(event.result.config_id == event.worker for event in events if event.result is not None)
    assert [place["worker"] for place in workers.places] == [0, 1]


def test_the_time_of_each_step_is_its_own(tmp_path: Path) -> None:
    workers = make_pool(objectives.hanging_first, tmp_path / "search.log", "process", 2)
    try:
        workers.submit(0, Trial(0, {}, 2), TASK, 0.5)
        workers.submit(1, Trial(1, {}, 2), TASK, None)
        results = [event.result for event in until_free(workers, 2) if event.result is not None]
    finally:
        workers.close()
    assert {result.config_id: result.status for result in results} == {0: Status.TIMEOUT, 1: Status.SUCCESS}
    assert [result.fidelity for result in results if result.config_id == 1] == [1, 2]


def test_a_worker_that_dies_harms_no_other(tmp_path: Path) -> None:
    workers = make_pool(objectives.dying, tmp_path / "search.log", "process", 2)
    try:
        workers.submit(0, Trial(1, {}, 1), TASK, None)
        workers.submit(1, Trial(2, {}, 1), TASK, None)
        results = [event.result for event in until_free(workers, 2) if event.result is not None]
        workers.submit(0, Trial(4, {}, 1), TASK, None)
        results += [event.result for event in until_free(workers) if event.result is not None]
    finally:
        workers.close()
    assert {result.config_id: result.succeeded for result in results} == {1: False, 2: True, 4: True}


def test_closing_ends_steps_under_way(tmp_path: Path) -> None:
    workers = make_pool(objectives.sleeping, tmp_path / "search.log", "process", 2)
    for worker in range(2):
        workers.submit(worker, Trial(worker, {}, 1), TASK, None)
    workers.close()
    assert not any(thread.is_alive() for thread in workers._threads.values())  # type: ignore[attr-defined]


class Broken:
    """An evaluator that cannot start a process."""

    def evaluate(self, *_: object) -> Iterator[Result]:
        raise OSError("no process can be started")

    def close(self) -> None:
        pass


def test_what_an_evaluator_raises_reaches_the_caller() -> None:
    workers = Workers([Broken(), Broken()], [{}, {}])  # type: ignore[list-item]
    workers.submit(1, Trial(0, {}, 1), TASK, None)
    with pytest.raises(OSError, match="no process can be started"):
        workers.next()


def test_how_many_workers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "visible_gpus", lambda: ("0", "2", "5"))
    assert worker_count(None, "auto") == 3
    assert worker_count(None, "cpu") == worker_count(None, "cuda:1") == 1
    assert worker_count(7, "cpu") == 7
    with pytest.raises(ConfigError, match="at least one worker; got 0"):
        worker_count(0, None)
    monkeypatch.setattr(pool, "visible_gpus", lambda: ())
    assert worker_count(None, "auto") == 1


def test_several_need_processes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 workers need processes"):
        make_pool(objectives.good, tmp_path / "log", "inline", 2)
    assert isinstance(make_pool(objectives.good, tmp_path / "log", "inline", 1), OneWorker)


def test_workers_share_gpus_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 8}, raising=False)
    assert machine.core_shares(2) == [(0, 2, 8), (1, 3)]
    assert machine.core_shares(7) == [(0,), (1,), (2,), (3,), (8,), (0,), (1,)]
    assert own_device(1, 2, ()) == {"QTT_CORES": "1,3", "OMP_NUM_THREADS": "2"}
    assert own_device(2, 3, ("4", "6"))["CUDA_VISIBLE_DEVICES"] == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert own_device(1, 2, ()) == {"QTT_CORES": "1,3"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be told apart here")
def test_a_training_process_keeps_to_its_cores(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    evaluator = make_evaluator(
        objectives.telling_cores, tmp_path / "log", "process", {"QTT_CORES": str(core)}
    )
    try:
        (result,) = evaluator.evaluate(Trial(0, {}, 1), TASK, None)
    finally:
        evaluator.close()
    assert result.info["cores"] == [core]
