"""Recording runs: every end that a run can take, resuming after kill -9, and several workers."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clocks import HOURS, movable_clock
from collecting_objectives import recording, score
from qtt.collecting.collector import Collector, gpu_of
from qtt.collecting.plan import Plan
from qtt.collecting.runs import Limits, Run
from qtt.errors import ConfigError, EnvironmentFault, JournalError
from qtt.evaluation import Evaluator
from qtt.evaluation import process as process_module
from qtt.search.faults import SUSPICIOUS
from qtt.types import Candidates, MetaFeatures, Result, TaskInfo
from waiting import group_ended, wait_until

FOUR_EPOCHS = Limits(4)
TESTS = Path(__file__).parents[1]


class Watcher:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.epochs: list[tuple[str, int]] = []
        self.ends: dict[str, tuple[str, int]] = {}
        self.waits: list[tuple[str, str, float]] = []

    def epoch(self, run: Run, result: Result) -> None:
        self.epochs.append((run.name, result.fidelity))

    def ended(self, run: Run, end: str, epochs_saved: int) -> None:
        self.ends[run.name] = (end, epochs_saved)

    def waiting(self, run: Run, fault: str, seconds: float) -> None:
        self.waits.append((run.name, fault, seconds))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def make_plan(root: Path, name: str = "beans", fates: tuple[str, ...] = ("",) * 3, **settings: Any) -> Plan:
    task = TaskInfo(
        Path(name), ("a", "b"), max_fidelity=50, work_dir=root / "pipelines" / name, settings=settings
    )
    configs = tuple({"lr": 0.1 * i, "fate": fate} for i, fate in enumerate(fates))
    names = tuple(f"{name}-{i}" for i in range(len(fates)))
    return Plan(name, task, MetaFeatures(8, 2, 32, 3), Candidates(configs), names)


def collect(
    root: Path,
    *plans: Plan,
    limits: Limits = FOUR_EPOCHS,
    workers: int = 1,
    runs: int = 99,
    retry: bool = False,
    watcher: Watcher | None = None,
    patience: float = 0.0,
) -> tuple[Collector, Watcher]:
    collector, watcher = Collector(plans, root / "journals", limits), watcher or Watcher()
    collector.collect(collector.pending(runs, retry), recording, workers, root, watcher, patience=patience)
    return collector, watcher


def curves(collector: Collector) -> dict[str, list[tuple[int, float]]]:
    return {run.name: [(r.fidelity, r.score) for r in run.record.curve] for run in collector.runs}


def whole_curve(config_id: int, epochs: int) -> list[tuple[int, float]]:
    return [(epoch, score(config_id, epoch)) for epoch in range(1, epochs + 1)]


def trained(root: Path, name: str = "beans") -> list[tuple[int, int]]:
    log = root / "pipelines" / name / "epochs.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


def checkpoints(root: Path) -> list[Path]:
    return list((root / "pipelines").glob("*/*/*"))


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_every_run_is_trained_to_its_end(tmp_path: Path, workers: int) -> None:
    plans = [make_plan(tmp_path, "beans"), make_plan(tmp_path, "peas", ("",) * 2)]
    collector, watcher = collect(tmp_path, *plans, workers=workers)
    assert curves(collector) == {run.name: whole_curve(run.config_id, 4) for run in collector.runs}
    assert [end for _, end in collector.ended()] == ["finished"] * 5
    assert sorted(watcher.epochs) == [(run.name, epoch) for run in collector.runs for epoch in (1, 2, 3, 4)]
    assert set(watcher.ends.values()) == {("finished", 0)}
    assert checkpoints(tmp_path) == []
    record = collector.runs[0].record
    assert record.seconds == pytest.approx(0.01 + 0.02 + 0.03 + 0.04)
    assert record.max_memory == 14e6
    assert curves(Collector(plans, tmp_path / "journals", Limits(4))) == curves(collector)


def test_each_process_has_a_gpu_of_its_own_where_there_are_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    collect(tmp_path / "spread", make_plan(tmp_path / "spread", "beans", ("",) * 6), workers=3)
    assert seen(tmp_path / "spread") == {"4", "7"}
    chosen = make_plan(tmp_path / "chosen", "beans", ("",) * 6)
    chosen = replace(chosen, task=replace(chosen.task, settings={**chosen.task.settings, "device": "cuda:1"}))
    collect(tmp_path / "chosen", chosen, workers=2)
    assert seen(tmp_path / "chosen") == {"4,7"}, "who names a GPU gets it"
    assert [gpu_of(number, ("0",)) for number in range(2)] == [{}, {}]
    assert [gpu_of(number, ("a", "b"))["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["a", "b", "a"]


def seen(root: Path) -> set[str]:
    """What training processes saw as their GPUs."""
    results = [
        json.loads(line)["result"] if "result" in json.loads(line) else json.loads(line)
        for file in (root / "journals").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return {result["info"]["gpus"] for result in results}


def test_datasets_take_turns(tmp_path: Path) -> None:
    plans = [make_plan(tmp_path, "beans"), make_plan(tmp_path, "peas")]
    _, watcher = collect(tmp_path, *plans)
    assert list(watcher.ends) == ["beans-0", "peas-0", "beans-1", "peas-1", "beans-2", "peas-2"]


def test_failures_are_kept_with_their_reasons(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, fates=("raise", "die", "stop", ""))
    collector, watcher = collect(tmp_path, plan)
    assert [end for _, end in collector.ended()] == ["failed"] * 3 + ["finished"]
    for run, reason in zip(
        collector.runs, ("CUDA out of memory", "exit code 3", "at epoch 1 of 4"), strict=False
    ):
        assert reason in (run.record.note or "")
        assert curves(collector)[run.name] == whole_curve(run.config_id, 1)
    assert collector.runs[3].record.note is None
    assert watcher.ends["beans-1"] == ("failed", 3)
    assert checkpoints(tmp_path) == []
    _, again = collect(tmp_path, plan)
    assert not again.epochs and not again.ends, "failures are not repeated by themselves"


def test_failures_are_repeated_on_demand(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, fates=("raise", ""))
    collect(tmp_path, plan)
    (tmp_path / "pipelines" / "beans" / "healed").touch()
    collector, watcher = collect(tmp_path, plan, retry=True)
    assert watcher.epochs == [("beans-0", epoch) for epoch in (2, 3, 4)], "epoch 1 was known"
    assert curves(collector)["beans-0"] == whole_curve(0, 4)
    assert [end for _, end in collector.ended()] == ["finished"] * 2
    assert collector.runs[0].record.note is None


def test_all_failing_stops_early(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"first 10 runs all failed.*out of memory.*retry_failed"):
        collect(tmp_path, make_plan(tmp_path, fates=("raise",) * 15))
    assert len((tmp_path / "journals" / "beans.jsonl").read_text().splitlines()) == 20


class Mending(Watcher):
    """Brings the dataset back when it hears of the second pause."""

    def __init__(self, gone: Path) -> None:
        super().__init__()
        self.gone = gone

    def waiting(self, run: Run, fault: str, seconds: float) -> None:
        super().waiting(run, fault, seconds)
        if len(self.waits) == 2:
            self.gone.unlink()


def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtt.search.faults.FIRST_PAUSE", 0.01)


def test_a_fault_that_mends_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _short_pauses(monkeypatch)
    gone = tmp_path / "gone"
    gone.touch()
    watcher = Mending(gone)
    collector, _ = collect(tmp_path, make_plan(tmp_path, gone=str(gone)), watcher=watcher, patience=9.0)
    assert curves(collector) == {run.name: whole_curve(run.config_id, 4) for run in collector.runs}
    assert [end for _, end in collector.ended()] == ["finished"] * 3
    assert watcher.waits == [("beans-0", "The dataset is gone.", s) for s in (0.01, 0.02)]
    assert "failed" not in (tmp_path / "journals" / "beans.jsonl").read_text()
    assert trained(tmp_path).count((0, 1)) == 1  # the run went on from its checkpoint


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_that_stays_stops_all_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    _short_pauses(monkeypatch)
    gone = tmp_path / "gone"
    gone.touch()
    plan, watcher = make_plan(tmp_path, gone=str(gone)), Watcher()
    with pytest.raises(EnvironmentFault, match=r"dataset is gone\. Everything .* has not failed.*goes on"):
        collect(tmp_path, plan, watcher=watcher, patience=0.05, workers=workers)
    assert not watcher.ends
    assert not [t for t in threading.enumerate() if t.name.startswith("qtt-")]
    assert _journaled(tmp_path) <= {("beans", i, 1) for i in range(workers)}
    assert len(_journaled(tmp_path)) > 0
    gone.unlink()
    collector, _ = collect(tmp_path, plan, workers=workers)
    assert curves(collector) == {run.name: whole_curve(run.config_id, 4) for run in collector.runs}
    assert "failed" not in (tmp_path / "journals" / "beans.jsonl").read_text()


def test_many_equal_failures_in_a_row_are_suspected_to_be_the_worlds(tmp_path: Path) -> None:
    plans = [make_plan(tmp_path, name, ("broken",) * 6) for name in ("beans", "peas")]
    with pytest.raises(EnvironmentFault, match=r"8 pipelines before this one failed in the same way"):
        collect(tmp_path, *plans)
    assert len(_journaled(tmp_path)) == SUSPICIOUS


def test_what_prepares_comes_first_and_its_fault_stops_all(tmp_path: Path) -> None:
    def missing(evaluator: Evaluator) -> None:
        evaluator.start()
        raise EnvironmentFault("No weights.")

    collector = Collector([make_plan(tmp_path)], tmp_path / "journals", FOUR_EPOCHS)
    with pytest.raises(EnvironmentFault, match="No weights"):
        collector.collect(collector.pending(9), recording, 2, tmp_path, Watcher(), prepare=missing)
    assert not _journaled(tmp_path)
    assert not [t for t in threading.enumerate() if t.name.startswith("qtt-")]


def test_the_time_cap_cuts_a_run_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = movable_clock(monkeypatch, process_module)

    class Hurry(Watcher):
        def epoch(self, run: Run, result: Result) -> None:
            super().epoch(run, result)
            if run.name == "beans-0":
                clock.sleep(HOURS - 0.3)

    plan = make_plan(tmp_path, fates=("hang", ""))
    collector, _ = collect(tmp_path, plan, limits=Limits(4, HOURS), watcher=Hurry())
    assert [end for _, end in collector.ended()] == ["capped", "finished"]
    assert curves(collector)["beans-0"] == whole_curve(0, 1)
    assert checkpoints(tmp_path) == []


def test_the_time_cap_counts_what_was_spent_before(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, fates=("",))
    collect(tmp_path, plan, limits=Limits(2))  # spends 0.03 s of its own reckoning
    collector, _ = collect(tmp_path, plan, limits=Limits(4, 0.03))
    assert [end for _, end in collector.ended()] == ["capped"]
    assert curves(collector)["beans-0"] == whole_curve(0, 2)


def test_a_collection_grows(tmp_path: Path) -> None:
    collect(tmp_path, make_plan(tmp_path, fates=("",) * 3), runs=2)
    assert {run for run, _ in trained(tmp_path)} == {0, 1}
    collector, watcher = collect(tmp_path, make_plan(tmp_path, fates=("",) * 4))
    assert set(watcher.ends) == {"beans-2", "beans-3"}
    collector, watcher = collect(tmp_path, make_plan(tmp_path, fates=("",) * 4), limits=Limits(6))
    assert curves(collector) == {run.name: whole_curve(run.config_id, 6) for run in collector.runs}
    assert {epoch for _, epoch in watcher.epochs} == {5, 6}


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/collecting"]
from test_collector import collect, make_plan

root = Path(sys.argv[1])
plans = [make_plan(root, name, ("",) * 4, seconds=0.03) for name in ("beans", "peas")]
collect(root, *plans, workers=2)
"""


def test_kill_dash_nine_at_random_moments(tmp_path: Path) -> None:
    rng = random.Random(0)
    done: set[tuple[str, int, int]] = set()
    for number in (3, 8, 15):  # journaled epochs to wait for before each kill
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(TESTS)], start_new_session=True
        )
        wait_until(lambda number=number: len(_journaled(tmp_path)) >= number, process)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda process=process: group_ended(process.pid))  # its training processes notice that
        _check_not_repeated(tmp_path, done)
        done = _journaled(tmp_path)
        before = {name: len(trained(tmp_path, name)) for name in ("beans", "peas")}
        (tmp_path / "before.json").write_text(json.dumps(before))
    plans = [make_plan(tmp_path, name, ("",) * 4) for name in ("beans", "peas")]
    collector, _ = collect(tmp_path, *plans)
    _check_not_repeated(tmp_path, done)
    assert curves(collector) == {run.name: whole_curve(run.config_id, 4) for run in collector.runs}
    assert [end for _, end in collector.ended()] == ["finished"] * 8
    assert checkpoints(tmp_path) == []


def _check_not_repeated(root: Path, done: set[tuple[str, int, int]]) -> None:
    """Nothing was trained since the last kill that was journaled before it."""
    if not done:
        return
    before = json.loads((root / "before.json").read_text())
    for name in ("beans", "peas"):
        assert not {(name, *epoch) for epoch in trained(root, name)[before[name] :]} & done


def _journaled(root: Path) -> set[tuple[str, int, int]]:
    found = set()
    for journal in (root / "journals").glob("*.jsonl"):
        for line in journal.read_text().splitlines():
            if line.endswith("}"):
                data = json.loads(line)
                found.add((journal.stem, data["config_id"], data["fidelity"]))
    return found


def test_epochs_that_are_reported_again_are_ignored(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, fates=("",))
    collect(tmp_path, plan, limits=Limits(2))
    lines = (tmp_path / "journals" / "beans.jsonl").read_text().splitlines()
    collector, _ = collect(tmp_path, plan)  # the checkpoint is gone: it trains and reports from epoch 1
    assert (tmp_path / "journals" / "beans.jsonl").read_text().splitlines()[:2] == lines
    assert [r.fidelity for r in collector.runs[0].record.results] == [1, 2, 3, 4]


def test_an_interrupt_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, many = make_plan(tmp_path, fates=("",) * 3, seconds=0.2), Limits(40)
    join = threading.Thread.join

    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        if timeout is not None and len(_journaled(tmp_path)) >= 2:
            monkeypatch.setattr(threading.Thread, "join", join)
            raise KeyboardInterrupt
        join(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path, plan, limits=many, workers=2)
    assert not [t for t in threading.enumerate() if t.name.startswith("qtt-")]
    stopped = (tmp_path / "journals" / "beans.jsonl").read_bytes(), trained(tmp_path)
    assert b"failed" not in stopped[0]
    time.sleep(0.5)
    assert ((tmp_path / "journals" / "beans.jsonl").read_bytes(), trained(tmp_path)) == stopped
    collector, _ = collect(tmp_path, make_plan(tmp_path), limits=many, workers=2)
    assert curves(collector) == {run.name: whole_curve(run.config_id, 40) for run in collector.runs}


def test_an_error_of_ours_ends_the_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Collector, "journal", full)
    with pytest.raises(OSError, match="No space left"):
        collect(tmp_path, make_plan(tmp_path), workers=2)
    assert not [t for t in threading.enumerate() if t.name.startswith("qtt-collect")]


def test_a_journal_of_other_runs_is_refused(tmp_path: Path) -> None:
    collect(tmp_path, make_plan(tmp_path))
    with pytest.raises(JournalError, match="not planned"):
        collect(tmp_path, make_plan(tmp_path, fates=("",)))


@pytest.mark.parametrize(("epochs", "cap"), [(0, None), (3, 0.0), (3, -1.0), (3, float("nan"))])
def test_impossible_limits(epochs: int, cap: float | None) -> None:
    with pytest.raises(ConfigError, match=r"(epochs|time_cap) must be"):
        Limits(epochs, cap)


def test_the_objective_must_be_importable(tmp_path: Path) -> None:
    collector = Collector([make_plan(tmp_path)], tmp_path / "journals", Limits(2))
    with pytest.raises(ConfigError, match="cannot be imported by name"):
        collector.collect(collector.pending(9), lambda trial, task: [], 1, tmp_path, Watcher())
