"""What every pool promises; a test class for each kind of pool inherits it."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import objectives
from qtt.evaluation.pool import Event, Pool
from qtt.types import Objective, Result, Status, TaskInfo, Trial

TASK = TaskInfo(path=Path())


def until_free(workers: Pool, running: int = 1) -> list[Event]:
    """All that is said until so many steps have ended."""
    events: list[Event] = []
    while sum(event.result is None for event in events) < running:
        event = workers.next()
        if event is not None:
            events.append(event)
    return events


def results(events: list[Event]) -> list[Result]:
    return [event.result for event in events if event.result is not None]


class OnePoolContract:
    """Of pools with at least one worker."""

    one_at_least = 1

    def make(self, objective: Objective, log: Path, count: int) -> Pool:
        """A pool; to be closed by the caller."""
        raise NotImplementedError

    @pytest.fixture
    def workers(self, tmp_path: Path) -> Iterator[Pool]:
        made = self.make(objectives.good, tmp_path / "search.log", self.one_at_least)
        yield made
        made.close()

    def test_results_come_before_the_end_of_their_step(self, workers: Pool) -> None:
        workers.start()
        for fidelity in (1, 2):
            workers.submit(0, Trial(3, {}, fidelity), TASK, None)
            said, end = until_free(workers)
            assert (said.worker, end) == (0, Event(0, None))
            assert said.result is not None
            expected = {"score": objectives.score(3, fidelity), "cost": 0.01, "fidelity": fidelity}
            assert expected.items() <= said.result.to_dict().items()

    def test_a_pool_that_was_closed_starts_again(self, workers: Pool) -> None:
        workers.submit(0, Trial(0, {}, 1), TASK, None)
        until_free(workers)
        workers.close()
        workers.submit(0, Trial(1, {}, 1), TASK, None)
        assert [event.result is None for event in until_free(workers)] == [False, True]


class SeveralWorkersContract:
    """Of pools with two workers and more."""

    def make(self, objective: Objective, log: Path, count: int) -> Pool:
        """A pool; to be closed by the caller."""
        raise NotImplementedError

    def everyone_there(self, workers: Pool) -> Pool:
        """The pool, started, with all of its workers."""
        workers.start()
        while len(workers.there) < len(workers.places):
            assert workers.next() is None
        return workers

    def test_several_train_at_once_and_each_says_who_it_is(self, tmp_path: Path) -> None:
        """Each waits for a file that the other writes: one after the other they would wait for ever."""
        workers = self.make(objectives.meeting, tmp_path / "search.log", 2)
        try:
            self.everyone_there(workers)
            for worker in range(2):
                config = {"own": str(tmp_path / f"{worker}"), "other": str(tmp_path / f"{1 - worker}")}
                workers.submit(worker, Trial(worker, config, 1), TASK, 600.0)
            events = until_free(workers, 2)
        finally:
            workers.close()
        assert Counter((e.worker, e.result is None) for e in events) == Counter(
            {(0, False): 1, (0, True): 1, (1, False): 1, (1, True): 1}
        )
        assert all(result.succeeded for result in results(events))
        assert all(event.result.config_id == event.worker for event in events if event.result is not None)
        assert [place["worker"] for place in workers.places] == [0, 1]

    def test_the_time_of_each_step_is_its_own(self, tmp_path: Path) -> None:
        workers = self.make(objectives.hanging_first, tmp_path / "search.log", 2)
        try:
            self.everyone_there(workers)
            workers.submit(0, Trial(0, {}, 2), TASK, 0.5)
            workers.submit(1, Trial(1, {}, 2), TASK, None)
            found = results(until_free(workers, 2))
        finally:
            workers.close()
        ends = {result.config_id: result.status for result in found}
        assert ends == {0: Status.TIMEOUT, 1: Status.SUCCESS}
        assert [result.fidelity for result in found if result.config_id == 1] == [1, 2]

    def test_closing_ends_steps_under_way(self, tmp_path: Path) -> None:
        workers = self.make(objectives.sleeping, tmp_path / "search.log", 2)
        self.everyone_there(workers)
        for worker in range(2):
            workers.submit(worker, Trial(worker, {}, 1), TASK, None)
        workers.close()
        assert not any(thread.is_alive() for thread in self.threads(workers))

    def threads(self, workers: Pool) -> list[threading.Thread]:
        """Those that wait for workers."""
        raise NotImplementedError
