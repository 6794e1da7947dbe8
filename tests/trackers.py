"""A small search to play to trackers."""

from collections.abc import Sequence
from pathlib import Path

from qtt.runs.history import History
from qtt.runs.journal import Entry
from qtt.tracking import SearchInfo, Summary, Tracker
from qtt.types import Budget, Candidates, Result, Status, TaskInfo, Trial

CANDIDATES = Candidates(
    (
        {"model": "vit", "lr": 0.1},
        {"model": "resnet", "lr": 0.01, "momentum": 0.9},
        {"model": "resnet", "lr": 0.001, "clip_grad": None},
    )
)
RESULTS = (
    Result(0, 1, 0.5, 1.0),
    Result(1, 1, 0.75, 2.0),
    Result(0, 2, float("nan"), 1.0, Status.FAILED, {"reason": "out of [memory]"}),
    Result(1, 2, 0.7, 2.5),
    Result(2, 1, 0.8, 1.5),
)
ENTRIES = tuple(Entry(result, 10.0 * number) for number, result in enumerate(RESULTS, start=1))


def search(path: Path, known: int = 0, budget: Budget = Budget(60.0)) -> SearchInfo:  # noqa: B008
    """The search as it starts, or resumes after `known` results."""
    return SearchInfo(path, "RandomOptimizer", TaskInfo(path=path), CANDIDATES, budget, ENTRIES[:known])


def tell(tracker: Tracker, entries: Sequence[Entry], history: History) -> None:
    """Steps of one epoch."""
    for entry in entries:
        result = entry.result
        trial = Trial(result.config_id, CANDIDATES.configs[result.config_id], result.fidelity)
        tracker.asked(trial, entry.elapsed - 1.0)
        history.add(result)
        tracker.told(result, history, entry.elapsed)


def summary(path: Path, history: History, interrupted: bool = False) -> Summary:
    """The search as it ended."""
    reason = "Interrupted." if interrupted else "The budget of 60 s is spent."
    return Summary(path, CANDIDATES, history, 10.0 * len(history), reason, interrupted)


def play(
    tracker: Tracker, path: Path, known: int = 0, until: int = len(RESULTS), interrupted: bool = False
) -> None:
    """A whole search, or the part of it between two results."""
    tracker.start(search(path, known))
    history = History(entry.result for entry in ENTRIES[:known])
    tell(tracker, ENTRIES[known:until], history)
    tracker.finish(summary(path, history, interrupted))
