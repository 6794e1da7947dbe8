"""A training process that begins before the search knows what for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qtt.evaluation import spare
from qtt.evaluation.process import ProcessEvaluator
from qtt.types import TaskInfo, Trial
from waiting import wait_until

TASK = TaskInfo(path=Path())


@pytest.fixture(autouse=True)
def no_spare_is_left() -> Iterator[None]:
    yield
    spare.end_spare()
    assert spare._spare is None


def begun() -> spare.Begun:
    assert spare._spare is not None
    return spare._spare


def evaluator_of(name: str, log: Path, **environment: str) -> ProcessEvaluator:
    return ProcessEvaluator(f"objectives:{name}", log, environment)


def test_the_first_evaluator_takes_it_with_its_own_log(tmp_path: Path) -> None:
    spare.start_early(["colorsys", "no_such_module"])
    early, log = begun(), tmp_path / "search.log"
    evaluator = evaluator_of("chatty", log)
    try:
        (result,) = evaluator.evaluate(Trial(0, {}, 1), TASK, None)
        assert result.succeeded
        assert evaluator._process is early.process
        assert spare._spare is None
        assert log.read_text().splitlines() == ["chatter on stdout", "chatter below Python"]
    finally:
        evaluator.close()
    assert not early.process.alive
    assert not Path(early.scratch.name).exists()


def test_it_loads_what_it_was_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "loaded"
    (tmp_path / "leaving_a_mark.py").write_text(f"open({str(mark)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    spare.start_early(["leaving_a_mark"])
    wait_until(mark.exists)


def test_another_environment_needs_another_process(tmp_path: Path) -> None:
    spare.start_early([])
    early = begun()
    evaluator = evaluator_of("dying", tmp_path / "search.log", QTT_TEST_SPARE="other")
    try:
        (result,) = evaluator.evaluate(Trial(0, {}, 1), TASK, None)
        assert result.succeeded
        assert begun() is early
    finally:
        evaluator.close()


def test_one_that_has_died_is_replaced(tmp_path: Path) -> None:
    spare.start_early([])
    early = begun()
    early.process.end()
    evaluator = evaluator_of("dying", tmp_path / "search.log")
    try:
        (result,) = evaluator.evaluate(Trial(0, {}, 1), TASK, None)
        assert result.succeeded
        assert evaluator._process is not early.process
    finally:
        evaluator.close()
    assert not Path(early.scratch.name).exists()


def test_a_second_early_start_ends_the_first_and_nobody_needs_to_take_it() -> None:
    spare.start_early([])
    first = begun()
    spare.start_early([])
    second = begun()
    assert not first.process.alive
    assert not Path(first.scratch.name).exists()
    spare.end_spare()
    assert not second.process.alive
    spare.end_spare()  # there is none


def test_after_it_an_evaluator_starts_its_own(tmp_path: Path) -> None:
    spare.start_early([])
    evaluator = evaluator_of("dying", tmp_path / "search.log")
    try:
        (first,) = evaluator.evaluate(Trial(0, {}, 1), TASK, None)
        (dead,) = evaluator.evaluate(Trial(1, {}, 1), TASK, None)
        (second,) = evaluator.evaluate(Trial(2, {}, 1), TASK, None)
    finally:
        evaluator.close()
    assert first.succeeded and second.succeeded and not dead.succeeded
    assert first.info["pid"] != second.info["pid"]
    assert os.getpid() not in (first.info["pid"], second.info["pid"])
