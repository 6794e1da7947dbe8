"""Steps that workers of a cluster lose are asked again, of somebody else, and nothing else is disturbed."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import objectives
from qtt.evaluation.pool import Event
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.folder import RunFolder
from qtt.runs.journal import Journal
from qtt.search.loop import SearchLoop
from qtt.search.steps import Step, Steps
from qtt.search.watchdog import Watchdog
from qtt.support.clock import WallClock
from qtt.tasks.preflight import Said
from qtt.tracking.base import Summary
from qtt.types import Budget, Candidates, TaskInfo, Trial

PIPELINES = 3


def step(config_id: int, worker: int) -> Step:
    trial = Trial(config_id, {}, 1)
    return Step(trial, trial, worker, Watchdog(None).watch(trial, None, None), 0.0)


def test_a_pipeline_goes_back_to_its_worker_and_leaves_the_one_that_lost_it() -> None:
    steps = Steps()
    begun = step(7, 2)
    steps.begin(begun)
    assert steps.free(range(3)) == [0, 1]
    steps.end(begun)
    assert steps.worker_for(7, range(3)) == 2
    assert steps.worker_for(7, [0, 1]) == 0, "its worker has gone"
    lost = step(7, 0)
    steps.begin(lost)
    steps.lose(lost)
    assert steps.worker_for(7, range(3)) == 1
    assert steps.worker_for(7, [0]) == 0, "there is no other"


@dataclass
class ComesAndGoes:
    """A pool whose workers lose the steps that are named, by number of the submission."""

    loses: Collection[int]
    there: Sequence[int] = ()
    places: Sequence[Mapping[str, Any]] = tuple({"worker": i} for i in range(2))
    submitted: list[tuple[int, int, int]] = field(default_factory=list)
    _events: deque[Event] = field(default_factory=deque)

    @property
    def first(self) -> "ComesAndGoes":
        return self

    def start(self) -> None: ...

    def rehearse(self, rehearsal: str, candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
        yield from ()

    def submit(self, worker: int, trial: Trial, task: TaskInfo, seconds: float | None) -> None:
        self.submitted.append((worker, trial.config_id, trial.fidelity))
        if len(self.submitted) in self.loses:
            self._events.append(Event(worker, None, lost="its machine is gone"))
            return
        for result in objectives.reporting_all(trial, task):
            self._events.append(Event(worker, result))
        self._events.append(Event(worker, None))

    def next(self) -> Event | None:
        if not self._events:
            self.there = range(2)
            return None
        return self._events.popleft()

    def close(self) -> None: ...


def search(path: Path, pool: ComesAndGoes, budget: Budget) -> Summary:
    optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=2)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(PIPELINES))))
    task = TaskInfo(path=Path("data"))
    with RunFolder(path) as folder:
        folder.claim(optimizer.candidates, task)
        return SearchLoop(optimizer, pool, folder, task, budget, trackers=(), clock=WallClock()).run()


def test_lost_steps_are_asked_again_and_nothing_is_doubled(tmp_path: Path) -> None:
    pool = ComesAndGoes(loses=(1, 2, 4))
    search(tmp_path, pool, Budget(None, 2 * PIPELINES))
    results = [entry.result for entry in Journal(tmp_path / "journal.jsonl").read()]
    finished = [(result.config_id, result.fidelity) for result in results]
    assert sorted(finished) == [(i, epoch) for i in range(PIPELINES) for epoch in (1, 2)]
    assert all(result.succeeded for result in results)
    asked = [(config_id, fidelity) for _, config_id, fidelity in pool.submitted]
    assert len(asked) == 2 * PIPELINES + 3
    for number in (1, 2):
        assert asked[number - 1] in asked[number:]


class NeverThere(ComesAndGoes):
    """A pool for which its cluster has no room."""

    def next(self) -> Event | None:
        return None


def test_a_budget_of_time_ends_while_nobody_is_there(tmp_path: Path) -> None:
    summary = search(tmp_path, NeverThere(loses=()), Budget(0.2, None))
    assert summary.reason == "The budget of 0.2 s is spent."
    assert not summary.history.observed
