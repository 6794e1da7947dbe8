"""The preflight of a search: before the journal, outside the budget, and told in a line."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import objectives
from qtt.errors import ConfigError, DatasetError, EnvironmentFault
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.journal import Journal
from qtt.search.tuner import QuickTuner
from qtt.support import resources
from qtt.support.clock import SimulatedClock
from qtt.tasks import Needs, Said, Task
from qtt.tracking.base import Summary, Tracker
from qtt.tracking.console import ConsoleTracker
from qtt.types import Candidates, Objective, TaskInfo

INFO = TaskInfo(path=Path("data"))


class Numbers(Task):
    """Trains in no time; its rehearsal is a function that tests replace."""

    name = "numbers"
    function = "objectives.continuing"
    rehearsal = "objectives.rehearsing"

    def needs(self, candidates: Candidates, task: TaskInfo) -> Needs:
        return Needs(disk=10**6)

    def describe(self, *args: Any, **kwargs: Any) -> Any: ...

    def evaluate(self, *args: Any) -> Any: ...

    def predictor(self, *args: Any) -> Any: ...

    def leaderboard(self, *args: Any, **kwargs: Any) -> Any: ...

    def export(self, *args: Any, **kwargs: Any) -> Any: ...


def _search(
    path: Path,
    objective: Objective | Task,
    info: TaskInfo = INFO,
    *,
    trackers: tuple[Tracker, ...] = (),
    clock: SimulatedClock | None = None,
    **budget: float,
) -> Summary:
    optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=3)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(4))))
    tuner = QuickTuner(optimizer, objective, path, trackers=trackers, isolation="inline", clock=clock)
    return tuner.run(info, **({"evaluations": 6} | budget))  # type: ignore[arg-type]


def _journal(path: Path) -> list[tuple[int, int, float]]:
    return [
        (e.result.config_id, e.result.fidelity, e.result.score)
        for e in Journal(path / "journal.jsonl").read()
    ]


def test_a_fault_stops_the_search_before_its_journal_and_it_goes_on_once_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = _search(tmp_path / "a", Numbers())
    assert undisturbed.fault is None

    def gone(candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
        yield Said("looking")
        raise DatasetError("The data are gone. Bring them back.")

    for evaluations in (0, 3):  # from the beginning, and half-way
        if evaluations:
            _search(tmp_path / "b", Numbers(), evaluations=evaluations)
        before = _journal(tmp_path / "b") if evaluations else []
        with monkeypatch.context() as patch:
            patch.setattr(objectives, "rehearsing", gone)
            with pytest.raises(EnvironmentFault, match=r"gone\. Bring them back\. Nothing .* goes on\."):
                _search(tmp_path / "b", Numbers())
        assert (tmp_path / "b" / "journal.jsonl").exists() == bool(evaluations)
        assert _journal(tmp_path / "b") == before
    _search(tmp_path / "b", Numbers())
    assert _journal(tmp_path / "b") == _journal(tmp_path / "a")


def test_a_folder_in_which_nothing_began_takes_another_search(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="gone"):
        _search(tmp_path, Numbers(), TaskInfo(Path("data"), settings={"rehearsal": "gone"}))
    assert _search(tmp_path, Numbers(), TaskInfo(Path("elsewhere"), seed=3)).history.evaluations == 6
    with pytest.raises(ConfigError, match="differs from this one in task"):
        _search(tmp_path, Numbers(), TaskInfo(Path("elsewhere"), seed=4), evaluations=7)


def test_a_mistake_stays_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mistake"):
        _search(tmp_path, Numbers(), TaskInfo(Path("data"), settings={"rehearsal": "mistake"}))
    assert not (tmp_path / "journal.jsonl").exists()


def test_the_budget_begins_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimulatedClock()

    def slow(candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
        clock.sleep(1000)
        yield Said("slow", fact=True)

    monkeypatch.setattr(objectives, "rehearsing", slow)
    for evaluations in (3, 6):
        summary = _search(tmp_path, Numbers(), clock=clock, time_budget=10, evaluations=evaluations)
        assert summary.history.evaluations == evaluations
        assert summary.elapsed == 0


def test_a_search_that_is_over_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _search(tmp_path, Numbers())
    monkeypatch.setattr(objectives, "rehearsing", lambda candidates, task: pytest.fail("it is over"))
    assert _search(tmp_path, Numbers()).history.evaluations == 6


def test_a_function_of_ones_own_is_not_rehearsed_but_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "rehearsing", lambda candidates, task: pytest.fail("nobody's"))
    assert _search(tmp_path / "a", objectives.continuing).history.evaluations == 6
    monkeypatch.setattr(resources, "free_disk", lambda path: 1)
    with pytest.raises(EnvironmentFault, match="Make room"):
        _search(tmp_path / "b", objectives.continuing)
    assert not (tmp_path / "b" / "journal.jsonl").exists()


def test_a_folder_that_cannot_be_written_is_told_before_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot be written to"):
        _search(tmp_path / "file" / "run", objectives.continuing)


@pytest.mark.parametrize("terminal", [False, True])
def test_it_is_told_in_a_line_and_not_where_all_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(resources, "free_disk", lambda path: 40 * 10**9)
    told = {}
    for quiet in (False, True):
        console = Console(record=True, force_terminal=terminal, width=100, file=StringIO())
        tracker = ConsoleTracker(console, quiet=quiet)
        _search(tmp_path / str(quiet), Numbers(), trackers=(tracker,))
        told[quiet] = console.export_text()
    assert told[False].count("Checked: 4 pipelines, process ") == 1
    assert ", 40 GB free" in told[False]
    assert "Checked" not in told[True]
    assert "Checked: 4 pipelines" in (tmp_path / "True" / "search.log").read_text()


def test_what_takes_long_is_told_now_and_then_without_a_terminal() -> None:
    clock = SimulatedClock()
    console = Console(record=True, force_terminal=False, file=StringIO())
    tracker = ConsoleTracker(console, clock=clock)
    for number in range(25):
        tracker.preparing(f"Fetching {number}")
        clock.sleep(1)
    tracker.preparing("")
    assert console.export_text().split("\n") == ["Fetching 10", "Fetching 20", ""]
