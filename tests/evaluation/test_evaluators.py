"""Both evaluators keep the same promises; the process keeps some more."""

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import objectives
from clocks import HOURS, movable_clock
from qtt.errors import ConfigError
from qtt.evaluation import Evaluator, inline, kernel, make_evaluator, training_process
from qtt.evaluation import process as process_module
from qtt.evaluation.inline import InlineEvaluator
from qtt.evaluation.process import ProcessEvaluator, import_path
from qtt.types import Objective, Result, Status, TaskInfo, Trial
from waiting import LIMIT, wait_until

TASK = TaskInfo(path=Path())


@pytest.fixture(params=["inline", "process"])
def isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Evaluators:
    """Makes evaluators and closes them after the test."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.made: list[Evaluator] = []

    def __call__(self, objective: Objective, isolation: str) -> Evaluator:
        self.made.append(make_evaluator(objective, self.log, isolation))
        return self.made[-1]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Evaluators]:
    evaluators = Evaluators(tmp_path / "search.log")
    yield evaluators
    for evaluator in evaluators.made:
        evaluator.close()


def _run(evaluator: Evaluator, trial: Trial, task: TaskInfo = TASK) -> list[Result]:
    return list(evaluator.evaluate(trial, task, None))


def test_a_result_dict_comes_back_as_a_result(make: Evaluators, isolation: str) -> None:
    (result,) = _run(make(objectives.good, isolation), Trial(3, {"lr": 0.1}, 2))
    assert result == Result(3, 2, objectives.score(3, 2), 0.01)


def test_an_exception_is_a_failed_result_and_the_next_step_runs(make: Evaluators, isolation: str) -> None:
    evaluator = make(objectives.raising, isolation)
    assert [r.succeeded for r in _run(evaluator, Trial(0, {}, 1))] == [True]
    (failed,) = _run(evaluator, Trial(0, {}, 2))
    assert failed.status is Status.FAILED
    assert failed.info["reason"] == "RuntimeError: CUDA out of memory"
    assert "Traceback" in failed.info["details"]
    assert [r.succeeded for r in _run(evaluator, Trial(1, {}, 1))] == [True]


@pytest.mark.parametrize("left", [0.3, -1.0])
def test_a_step_is_cut_off_and_what_it_finished_counts(
    make: Evaluators, isolation: str, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = movable_clock(monkeypatch, inline, process_module)
    steps = make(objectives.sleeping, isolation).evaluate(Trial(0, {}, 3), TASK, HOURS)
    assert [next(steps).fidelity for _ in range(2)] == [1, 2]
    clock.sleep(HOURS - left)
    (cut_off,) = steps
    assert cut_off.status is Status.TIMEOUT
    assert math.isnan(cut_off.score)
    assert cut_off.cost >= HOURS - left


@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        ("nothing", "returned NoneType"),
        ("number", "returned float"),
        ("empty", "no result"),
        ("other id", "Asked for config 1, got a result of 2"),
        ("too far", "reported epoch 3"),
        ("nan", "finite score"),
        ("no cost", "positive seconds"),
        ("no key", "lacks config_id, cost, fidelity"),
        ("not json", "must be JSON"),
        ("nan info", "must be JSON"),
    ],
)
def test_a_malformed_result_is_a_failure_that_says_why(make: Evaluators, returns: str, reason: str) -> None:
    task = TaskInfo(path=Path(), settings={"returns": returns})
    (result,) = _run(make(objectives.wrong, "inline"), Trial(1, {}, 2), task=task)
    assert result.status is Status.FAILED
    assert reason in result.info["reason"]


def test_a_dead_process_costs_one_trial(make: Evaluators) -> None:
    evaluator = make(objectives.dying, "process")
    (first,) = _run(evaluator, Trial(0, {}, 1))
    (dead,) = _run(evaluator, Trial(1, {}, 1))
    (second,) = _run(evaluator, Trial(2, {}, 1))
    assert dead.status is Status.FAILED
    assert "SIGKILL" in dead.info["reason"]
    assert first.info["pid"] != second.info["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("how", "reason", "details"),
    [
        ("SIGSEGV", "was killed by SIGSEGV; see", "objectives.py"),  # where, as faulthandler says
        ("SIGKILL", "was killed by SIGKILL", ""),
        ("exit", "ended with exit code 3; see", ""),
        ("memory", "MemoryError", "Traceback"),
    ],
)
def test_how_a_step_ended_is_in_its_result(make: Evaluators, how: str, reason: str, details: str) -> None:
    evaluator = make(objectives.ending, "process")
    task = TaskInfo(path=Path(), settings={"how": how})
    (result,) = _run(evaluator, Trial(0, {}, 1), task=task)
    assert result.status is Status.FAILED
    assert reason in result.info["reason"]
    assert details in result.info.get("details", "")


@pytest.mark.parametrize(
    ("before", "after", "reason", "known"),
    [
        (3, 4, "SIGKILL: the machine ran out of memory;", True),
        (3, 3, "SIGKILL; see", None),
        (None, None, "SIGKILL (out of memory?);", None),
    ],
)
def test_the_kernel_is_asked_why_a_process_was_killed(
    make: Evaluators,
    monkeypatch: pytest.MonkeyPatch,
    before: int | None,
    after: int | None,
    reason: str,
    known: bool | None,
) -> None:
    counts = iter([before, after])
    monkeypatch.setattr(kernel, "out_of_memory_kills", lambda: next(counts))
    (result,) = _run(make(objectives.dying, "process"), Trial(1, {}, 1))
    assert reason in result.info["reason"]
    assert result.info.get("out_of_memory") is known


@pytest.mark.parametrize("version", [1, 2])
def test_kills_are_counted_as_the_kernel_writes_them(tmp_path: Path, version: int) -> None:
    cgroups = tmp_path / "cgroup"
    cgroups.write_text("5:cpu:/\n4:memory:/a/b\n" if version == 1 else "0::/a/b\n")
    assert kernel.out_of_memory_kills(cgroups, tmp_path) is None
    folder = tmp_path / "memory" / "a" / "b" if version == 1 else tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    file, text = ("memory.oom_control", "under_oom 0\n") if version == 1 else ("memory.events", "oom 5\n")
    (folder / file).write_text(text + "oom_kill 2\n")
    assert kernel.out_of_memory_kills(cgroups, tmp_path) == 2
    assert kernel.out_of_memory_kills(tmp_path / "none", tmp_path) is None


def test_what_is_being_written_is_finished_before_the_process_ends(
    make: Evaluators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_process, "GRACE", LIMIT)
    task = TaskInfo(path=Path(), settings={"file": str(tmp_path / "file")})
    evaluator = make(objectives.writing, "process")
    steps = evaluator.evaluate(Trial(0, {}, 2), task, None)
    assert next(steps).succeeded
    (tmp_path / "file.go").touch()
    evaluator.close()
    assert (tmp_path / "file").read_text() == "whole"


def test_a_process_that_does_not_listen_is_killed(
    make: Evaluators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_process, "GRACE", 0.1)
    task = TaskInfo(path=Path(), settings={"file": str(tmp_path / "file"), "deaf": True})
    evaluator = make(objectives.writing, "process")
    assert isinstance(evaluator, ProcessEvaluator)
    steps = evaluator.evaluate(Trial(0, {}, 2), task, None)
    assert next(steps).succeeded
    wait_until((tmp_path / "file.deaf").exists)
    time.sleep(0.2)
    (tmp_path / "file.go").touch()
    process = evaluator._process
    evaluator.close()
    assert process is not None
    assert process.end() == -signal.SIGKILL
    assert not (tmp_path / "file").exists()


def test_one_process_serves_all_steps(make: Evaluators) -> None:
    evaluator = make(objectives.dying, "process")
    pids = {_run(evaluator, Trial(0, {}, epoch))[0].info["pid"] for epoch in (1, 2, 3)}
    assert len(pids) == 1


def test_a_signal_to_all_processes_leaves_ending_this_one_to_the_search(
    make: Evaluators, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("OMP", "OPENBLAS"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "2")  # threads, which hear signals, too
    evaluator = make(objectives.dying, "process")
    (first,) = _run(evaluator, Trial(0, {}, 1))
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        os.kill(first.info["pid"], signum)
        (after,) = _run(evaluator, Trial(0, {}, 2))
        assert after.info == first.info


def test_temporary_files_of_a_killed_process_are_removed(make: Evaluators) -> None:
    evaluator = make(objectives.leaving_files, "process")
    (result,) = _run(evaluator, Trial(0, {}, 1))
    left = Path(result.info["file"])
    assert left.exists()
    os.kill(result.info["pid"], signal.SIGKILL)
    evaluator.close()
    assert not left.parent.exists()


def test_chatter_goes_to_the_log_and_not_into_the_protocol(make: Evaluators) -> None:
    (result,) = _run(make(objectives.chatty, "process"), Trial(0, {}, 1))
    assert result.succeeded
    make.made[0].close()
    assert "chatter on stdout\n" in make.log.read_text()
    assert "chatter below Python\n" in make.log.read_text()


def test_functions_that_cannot_be_imported_run_inline(make: Evaluators) -> None:
    def local(trial: Trial, task: TaskInfo) -> Result:
        return Result(trial.config_id, trial.fidelity, 0.5, 0.1)

    assert import_path(objectives.good) == "objectives:good"
    assert import_path(local) is None
    assert isinstance(make(local, "auto"), InlineEvaluator)
    assert isinstance(make(objectives.good, "auto"), ProcessEvaluator)
    with pytest.raises(ConfigError, match="cannot be imported"):
        make(local, "process")
    with pytest.raises(ConfigError, match="isolation"):
        make(local, "thread")
