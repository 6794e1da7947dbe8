"""The loop: budgets, resuming, failures, and what is left on disk."""

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import objectives
from clocks import HOURS, MovableClock, movable_clock
from qtt.artifacts.pretrained import get_pretrained_optimizer
from qtt.cli.messages import errors_for_people
from qtt.errors import ConfigError, PredictionError
from qtt.evaluation import inline, process
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.history import History
from qtt.search.loop import notes
from qtt.search.tuner import QuickTuner
from qtt.support.files import write_json
from qtt.tasks import load_task
from qtt.tracking.base import Summary
from qtt.tracking.csv import CsvTracker
from qtt.types import Candidates, Objective, Result, Status, TaskInfo, Trial
from waiting import wait_until

TASK = TaskInfo(path=Path("digits"), class_names=("a", "b"))


def _tuner(
    path: Path, objective: Objective = objectives.good, n: int = 8, epochs: int = 5, **settings: Any
) -> QuickTuner:
    optimizer = EpochwiseRandomOptimizer(seed=1, max_fidelity=epochs, epochs_per_step=settings.pop("step", 1))
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(n))))
    return QuickTuner(optimizer, objective, path, **({"isolation": "inline", "trackers": ()} | settings))


class Hurry(CsvTracker):
    """Lets nearly all of HOURS pass once so many epochs are finished."""

    def __init__(self, clock: MovableClock, epochs: int) -> None:
        super().__init__()
        self._clock = clock
        self._epochs = epochs

    def told(self, result: Result, history: History, elapsed: float) -> None:
        super().told(result, history, elapsed)
        if history.evaluations == self._epochs and result.succeeded:
            self._clock.sleep(HOURS - elapsed - 0.3)


def _trained(path: Path) -> list[str]:
    return (path / "pipelines" / "epochs.log").read_text().splitlines()


def _journal(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    journal = path / "journal.jsonl"
    return journal.read_text().splitlines() if journal.exists() else []


def _steps(summary: Summary) -> list[tuple[int, int]]:
    return [(result.config_id, result.fidelity) for result in summary.history]


def test_an_evaluation_budget_is_kept_exactly(tmp_path: Path) -> None:
    summary = _tuner(tmp_path).run(TASK, evaluations=7)
    assert summary.history.evaluations == 7
    assert "7 epochs is spent" in summary.reason
    assert len(_journal(tmp_path)) == 7


def test_it_is_kept_within_a_step_and_the_asks_after_it_are_those_that_would_have_come(
    tmp_path: Path,
) -> None:
    whole = _tuner(tmp_path / "whole", objectives.continuing, step=3).run(TASK, evaluations=20)
    for budget in (4, 5, 11, 20):
        tuner = _tuner(tmp_path / "parts", objectives.continuing, step=3)
        summary = tuner.run(TASK, evaluations=budget)
        assert summary.history.evaluations == budget
    finished = [[(r.config_id, r.fidelity) for r in s.history if r.succeeded] for s in (summary, whole)]
    assert finished[0] == finished[1]


def test_a_tuner_goes_on_with_a_step_that_a_budget_of_epochs_has_cut_off(tmp_path: Path) -> None:
    tuner = _tuner(tmp_path, objectives.continuing, n=1, step=5)
    assert [tuner.run(TASK, evaluations=budget).history.fidelity(0) for budget in (2, 5)] == [2, 5]


@pytest.mark.parametrize(
    ("settings", "on_cpu"), [({"device": "cpu"}, True), ({"device": "cuda"}, False), ({}, False)]
)
def test_the_optimizer_knows_whether_training_is_on_a_cpu(
    tmp_path: Path, settings: dict[str, Any], on_cpu: bool
) -> None:
    tuner = _tuner(tmp_path)
    tuner.run(replace(TASK, settings=settings), evaluations=1)
    assert tuner.optimizer is not None
    assert tuner.optimizer.on_cpu is on_cpu


def test_a_search_without_any_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="budget"):
        _tuner(tmp_path).run(TASK)


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_time_budget_is_kept_in_the_middle_of_a_step(
    tmp_path: Path, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = movable_clock(monkeypatch, inline, process)
    watched = {"clock": clock, "trackers": [Hurry(clock, 2)], "isolation": isolation}
    summary = _tuner(tmp_path, objectives.sleeping, step=3, **watched).run(TASK, time_budget=HOURS)
    *finished, cut_off = summary.history
    assert [result.fidelity for result in finished] == [1, 2]
    assert cut_off.status is Status.TIMEOUT
    assert f"{HOURS:g} s is spent" in summary.reason
    assert summary.elapsed >= HOURS


def test_what_a_cut_off_step_finished_is_journaled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = TaskInfo(path=Path("digits"), settings={"hang": True})
    clock = movable_clock(monkeypatch, inline)
    cut_short = _tuner(
        tmp_path,
        objectives.reporting_all,
        n=2,
        epochs=4,
        step=2,
        clock=clock,
        trackers=[Hurry(clock, 1)],
    )
    first = cut_short.run(hanging, time_budget=HOURS)
    assert [result.status for result in first.history] == [Status.SUCCESS, Status.TIMEOUT]
    write_json(tmp_path / "task.json", json.loads((tmp_path / "task.json").read_text()) | {"settings": {}})
    goes_on = TaskInfo(path=Path("digits"))
    second = _tuner(tmp_path, objectives.reporting_all, n=2, epochs=4, step=2).run(goes_on, evaluations=99)
    finished = [(r.config_id, r.fidelity) for r in second.history if r.succeeded]
    assert sorted(finished) == list(itertools.product((0, 1), (1, 2, 3, 4)))
    assert second.history.evaluations == 8


def test_everything_trained_ends_the_search_and_says_so(tmp_path: Path) -> None:
    summary = _tuner(tmp_path, n=2, epochs=3).run(TASK, time_budget=HOURS)
    assert sorted(_steps(summary)) == list(itertools.product((0, 1), (1, 2, 3)))
    assert "trained to its end" in summary.reason


def test_all_failing_ends_with_a_message_and_no_incumbent(tmp_path: Path) -> None:
    summary = _tuner(tmp_path, objectives.failing, n=4).run(TASK, time_budget=HOURS)
    assert summary.incumbent is None
    assert summary.reason == "Every pipeline failed; 4 of 4 because: ValueError: no such luck"
    assert len(_journal(tmp_path)) == 4


def test_the_same_command_shows_a_spent_budget_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    once = _tuner(tmp_path).run(TASK, evaluations=20)
    first = _tuner(tmp_path / "other").run(TASK, evaluations=9)
    again = _tuner(tmp_path / "other").run(TASK, evaluations=9)
    assert _steps(again) == _steps(first)
    assert again.incumbent == first.incumbent
    assert again.elapsed >= _journal(tmp_path / "other")[-1]["elapsed"]
    longer = _tuner(tmp_path / "other").run(TASK, evaluations=20)
    assert _steps(longer) == _steps(once)


def test_elapsed_time_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = movable_clock(monkeypatch, inline, objectives)
    task = TaskInfo(path=Path("digits"), settings={"seconds": HOURS})
    first = _tuner(tmp_path, objectives.remembering, clock=clock).run(task, evaluations=4)
    assert first.elapsed > 4 * HOURS
    budget = first.elapsed + 2.5 * HOURS
    second = _tuner(tmp_path, objectives.remembering, clock=clock).run(task, time_budget=budget)
    assert second.history.evaluations == 4 + 2, "the one that ends beyond the budget does not count"
    assert second.elapsed >= budget
    elapsed = [entry["elapsed"] for entry in _journal(tmp_path)]
    assert elapsed == sorted(elapsed)


def test_one_tuner_may_run_twice(tmp_path: Path) -> None:
    tuner = _tuner(tmp_path)
    tuner.run(TASK, evaluations=5)
    summary = tuner.run(TASK, evaluations=12)
    assert _steps(summary) == _steps(_tuner(tmp_path / "once").run(TASK, evaluations=12))
    assert len(tuner.optimizer.history) == 12


def test_a_folder_with_another_search_is_refused(tmp_path: Path) -> None:
    _tuner(tmp_path).run(TASK, evaluations=2)
    with pytest.raises(ConfigError, match=r"configs has 8 entries there and 9 here"):
        _tuner(tmp_path, n=9, files={"config.yaml": "another"}).run(TASK, evaluations=4)
    assert not (tmp_path / "config.yaml").exists()
    with pytest.raises(ConfigError, match=r"seed is 0 there and 5 here"):
        _tuner(tmp_path).run(TaskInfo(path=Path("digits"), class_names=("a", "b"), seed=5), evaluations=4)


def test_two_searches_in_one_folder_are_refused(tmp_path: Path) -> None:
    from qtt.runs.folder import RunFolder

    with RunFolder(tmp_path), pytest.raises(ConfigError, match="Another search is running"):
        _tuner(tmp_path).run(TASK, evaluations=2)


def test_the_incumbents_weights_are_kept_and_finished_pipelines_leave_nothing(tmp_path: Path) -> None:
    summary = _tuner(tmp_path, objectives.remembering, n=3, epochs=4).run(TASK, time_budget=HOURS)
    best = summary.incumbent
    assert best is not None
    assert (best.config_id, best.fidelity) == (2, 4)
    assert (tmp_path / "incumbent" / "weights.safetensors").read_text() == "2 4"
    described = json.loads((tmp_path / "incumbent" / "model.json").read_text())
    assert described["config_id"] == 2
    assert described["config"] == {"lr": 0.2}
    assert described["class_names"] == ["a", "b"]
    assert not list((tmp_path / "pipelines").glob("0*"))


def test_of_equal_scores_the_first_pipelines_last_epoch_is_kept_and_no_other_weights_are_left(
    tmp_path: Path,
) -> None:
    summary = _tuner(tmp_path, objectives.level, n=3, epochs=4).run(TASK, evaluations=9)
    best, first = summary.history.incumbent, next(iter(summary.history))
    assert best is not None
    assert best.config_id == first.config_id
    assert best.fidelity == summary.history.fidelity(first.config_id)
    kept = (tmp_path / "incumbent" / "weights.safetensors").read_text()
    assert kept == f"{best.config_id} {best.fidelity}"
    assert list((tmp_path / "pipelines").rglob("weights-*")) == []


def test_figures_of_an_earlier_incumbent_do_not_outlive_it(tmp_path: Path) -> None:
    _tuner(tmp_path, objectives.remembering, n=3, epochs=4).run(TASK, evaluations=1)
    write_json(tmp_path / "incumbent" / "test.json", {"test accuracy": 0.1})
    _tuner(tmp_path, objectives.remembering, n=3, epochs=4).run(TASK, evaluations=1)
    assert (tmp_path / "incumbent" / "test.json").exists()
    _tuner(tmp_path, objectives.remembering, n=3, epochs=4).run(TASK, time_budget=HOURS)
    assert not (tmp_path / "incumbent" / "test.json").exists()


def test_a_quota_evicts_the_least_promising_and_they_can_be_asked_again(tmp_path: Path) -> None:
    quota = _tuner(tmp_path, objectives.remembering, n=4, epochs=6, disk_quota_gb=1e-9)
    summary = quota.run(TASK, evaluations=12)
    assert len(list((tmp_path / "pipelines").glob("0*"))) <= 1
    assert summary.history.evaluations == 12
    assert len(_trained(tmp_path)) > 12  # restarted pipelines train their first epochs again


def test_an_interrupt_keeps_everything(tmp_path: Path) -> None:
    calls = itertools.count()

    def interrupted(trial: Any, task: TaskInfo) -> dict[str, Any]:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return objectives.good(trial, task)

    summary = _tuner(tmp_path, interrupted).run(TASK, time_budget=HOURS)
    assert summary.interrupted
    assert summary.history.evaluations == 3
    assert _journal(tmp_path)[-1]["status"] == "timeout"
    goes_on = _tuner(tmp_path, interrupted).run(TASK, evaluations=6)
    assert goes_on.history.evaluations == 6


@pytest.mark.parametrize("where", ["close", "finish", "timeout"])
def test_a_second_interrupt_hurries_the_end_and_is_no_error(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    def twice(trial: Any, task: TaskInfo) -> dict[str, Any]:
        if trial.fidelity == 2:
            if where == "timeout":
                monkeypatch.setattr(CsvTracker, "told", interrupt)
            raise KeyboardInterrupt
        return objectives.good(trial, task)

    if where == "close":
        monkeypatch.setattr(inline.InlineEvaluator, "close", interrupt)
    elif where == "finish":
        monkeypatch.setattr(CsvTracker, "finish", interrupt)
    summary = _tuner(tmp_path, twice, trackers=[CsvTracker()]).run(TASK, time_budget=HOURS)
    assert summary.interrupted
    assert _journal(tmp_path)[-1]["status"] == "timeout"
    assert json.loads((tmp_path / "end.json").read_text())["whole"] is False


def test_an_interrupt_at_any_line_of_the_bookkeeping_leaves_one_story(tmp_path: Path) -> None:
    """Whatever line a signal comes at, journal and history agree and the search ends as interrupted."""
    for line in itertools.count(1):
        summary, came = _search_interrupted_at(tmp_path / str(line), line)
        if not came:
            break
        assert summary.interrupted
        journal = _journal(tmp_path / str(line))
        told = [row["config_id"] for row in journal if row["status"] == "success"]
        assert told == [result.config_id for result in summary.history if result.succeeded]
        assert summary.history.ranking() == summary.history.observed[:1]
    assert line > 30


def _search_interrupted_at(path: Path, line: int) -> tuple[Summary, bool]:
    """A search of one epoch with a disk quota, and SIGINT at the n-th line that keeps the result."""
    lines = itertools.count(1)

    def follow(frame: FrameType, event: str, _: Any) -> Any:
        if "qtt" not in Path(frame.f_code.co_filename).parts or not _within(frame, "_keep"):
            return None
        if event == "line" and next(lines) == line:
            signal.raise_signal(signal.SIGINT)
        return follow

    tuner = _tuner(path, objectives.remembering, n=1, epochs=3, disk_quota_gb=1e-9)
    sys.settrace(follow)
    try:
        summary = tuner.run(TASK, evaluations=1)
    finally:
        sys.settrace(None)
    return summary, next(lines) > line


def _within(frame: FrameType | None, function: str) -> bool:
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


def test_an_error_of_ours_is_raised_and_leaves_a_summary(tmp_path: Path) -> None:
    class Broken(EpochwiseRandomOptimizer):
        def ask(self) -> Trial | None:
            if self.history.evaluations == 3:
                raise PredictionError("no idea")
            return super().ask()

    class Listener(CsvTracker):
        reason = ""

        def finish(self, summary: Summary) -> None:
            Listener.reason = summary.reason

    optimizer = Broken(max_fidelity=5)
    optimizer.setup(Candidates(({"lr": 0.1},)))
    tuner = QuickTuner(optimizer, objectives.good, tmp_path, trackers=[Listener()])
    with pytest.raises(PredictionError, match="no idea"):
        tuner.run(TASK, evaluations=5)
    assert Listener.reason.startswith("Stopped by an error")
    assert len(_journal(tmp_path)) == 3


def test_the_default_folder_is_named_after_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    optimizer = EpochwiseRandomOptimizer(max_fidelity=3)
    optimizer.setup(Candidates(({"lr": 0.1},)))
    tuner = QuickTuner(optimizer, objectives.good, trackers=())
    assert tuner.run(TASK, evaluations=2).run_dir.parent == tmp_path / "runs"
    assert tuner.run(TASK, evaluations=3).history.evaluations == 3
    assert len(list((tmp_path / "runs").glob("digits-*"))) == 1
    assert tuner.statistics()["epochs"].tolist() == [3]


SEARCH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import objectives
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.search.loop import notes
from qtt.search.tuner import QuickTuner
from qtt.types import Candidates, TaskInfo

optimizer = EpochwiseRandomOptimizer(seed=1, max_fidelity=5)
optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(8))))
task = TaskInfo(path=Path("digits"), class_names=("a", "b"), settings={"seconds": 0.02})
QuickTuner(optimizer, objectives.remembering, sys.argv[1], trackers=()).run(task, evaluations=30)
"""


def test_kill_dash_nine_repeats_nothing_and_loses_nothing(tmp_path: Path) -> None:
    task = TaskInfo(path=Path("digits"), class_names=("a", "b"), settings={"seconds": 0.02})
    undisturbed = _tuner(tmp_path / "whole", objectives.remembering).run(task, evaluations=30)
    path = tmp_path / "killed"
    seen: list[str] = []
    for patience in (3, 9, 17):  # results to wait for before each kill
        search = subprocess.Popen([sys.executable, "-c", SEARCH, str(path), str(Path(__file__).parents[1])])
        wait_until(lambda patience=patience: len(_lines(path)) >= patience, search)
        os.kill(search.pid, signal.SIGKILL)
        search.wait()
        lines = _lines(path)
        assert lines[: len(seen)] == seen
        seen = lines
    summary = _tuner(path, objectives.remembering).run(task, evaluations=30)
    assert _steps(summary) == _steps(undisturbed)
    assert summary.incumbent == undisturbed.incumbent
    assert sorted(_trained(path)) == sorted(_trained(tmp_path / "whole"))
    weights = Path("incumbent") / "weights.safetensors"
    assert (path / weights).read_text() == (tmp_path / "whole" / weights).read_text()


def test_a_full_disk_ends_a_search_that_goes_on_when_there_is_room(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filler, run = small_disk / "filler", small_disk / "run"
    _tuner(run).run(TASK, evaluations=3)
    before = (run / "journal.jsonl").read_bytes()
    free = os.statvfs(small_disk)
    filler.write_bytes(b"0" * free.f_bavail * free.f_frsize)
    with pytest.raises(SystemExit), errors_for_people():
        _tuner(run).run(TASK, evaluations=30)
    assert "No space left on device" in capsys.readouterr().err
    filler.unlink()
    assert (run / "journal.jsonl").read_bytes().startswith(before)
    summary = _tuner(run).run(TASK, evaluations=30)
    undisturbed = _tuner(small_disk / "other").run(TASK, evaluations=30)
    assert _steps(summary) == _steps(undisturbed)


def test_the_default_metric_leaves_no_trace_and_another_one_is_another_search(tmp_path: Path) -> None:
    _tuner(tmp_path).run(TASK, evaluations=1)
    assert "metric" not in json.loads((tmp_path / "task.json").read_text())
    _tuner(tmp_path).run(TASK, evaluations=2)
    with pytest.raises(ConfigError, match="metric is None there and 'macro_f1' here"):
        _tuner(tmp_path).run(replace(TASK, metric="macro_f1"), evaluations=3)
    other = tmp_path / "other"
    _tuner(other).run(replace(TASK, metric="macro_f1"), evaluations=1)
    assert _tuner(other).run(replace(TASK, metric="macro_f1"), evaluations=2).history.evaluations == 2
    assert json.loads((other / "task.json").read_text())["metric"] == "macro_f1"


def test_a_metric_that_the_task_does_not_have_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    optimizer = EpochwiseRandomOptimizer(seed=1)
    optimizer.setup(Candidates(({"lr": 0.1},)))
    tuner = QuickTuner(optimizer, load_task("image_classification"), tmp_path / "run", trackers=())
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        tuner.run(replace(TASK, metric="acuracy"), evaluations=1)
    assert not (tmp_path / "run").exists()


def test_what_was_meta_learned_on_accuracy_is_said_to_be_so() -> None:
    learned = get_pretrained_optimizer("mtlbm/micro", model_hub="tiny")
    assert notes(learned, TASK) == ()
    (note,) = notes(learned, replace(TASK, metric="macro_f1"))
    assert "meta-learned on accuracy" in note
    assert "macro_f1" in note
    assert notes(get_pretrained_optimizer("cold"), replace(TASK, metric="macro_f1")) == ()
