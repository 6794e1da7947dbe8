"""Pools of one worker and of several keep the same promises."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import objectives
from pool_contract import TASK, OnePoolContract, SeveralWorkersContract, results, until_free
from qtt.errors import ConfigError
from qtt.evaluation import make_evaluator, pool
from qtt.evaluation.pool import OneWorker, Pool, Workers, make_pool, own_device, worker_count
from qtt.support import machine
from qtt.types import Objective, Result, Trial


class TestInline(OnePoolContract):
    def make(self, objective: Objective, log: Path, count: int) -> Pool:
        return make_pool(objective, log, "inline", count)


class TestProcess(OnePoolContract):
    def make(self, objective: Objective, log: Path, count: int) -> Pool:
        return make_pool(objective, log, "process", count)


class TestSeveralProcesses(TestProcess, SeveralWorkersContract):
    one_at_least = 2

    def threads(self, workers: Pool) -> list[threading.Thread]:
        assert isinstance(workers, Workers)
        return list(workers._threads.values())


def test_a_worker_that_dies_harms_no_other(tmp_path: Path) -> None:
    workers = make_pool(objectives.dying, tmp_path / "search.log", "process", 2)
    try:
        workers.submit(0, Trial(1, {}, 1), TASK, None)
        workers.submit(1, Trial(2, {}, 1), TASK, None)
        found = results(until_free(workers, 2))
        workers.submit(0, Trial(4, {}, 1), TASK, None)
        found += results(until_free(workers))
    finally:
        workers.close()
    assert {result.config_id: result.succeeded for result in found} == {1: False, 2: True, 4: True}


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
