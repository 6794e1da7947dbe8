"""The chart of several workers: what its bars stand for, and what is said of the rest of their time."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qtt.evaluation.timeline import Timeline
from qtt.reporting.progress import MOST_VECTORS
from qtt.reporting.run_page import run_report
from qtt.reporting.run_view import RunView
from qtt.reporting.spending import spending_chart
from qtt.reporting.workers import Bar, bars, summary, workers_chart
from qtt.runs.journal import Entry
from qtt.types import Result, Status

WriteRun = Callable[..., RunView]
Told = list[tuple[float, Result]]

NAN = float("nan")


def _by(worker: int, config_id: int, epoch: int, cost: float, gpu: str = "0") -> Result:
    return Result(config_id, epoch, 0.1 * epoch, cost, info={"worker": worker, "gpu": gpu})


@pytest.fixture
def told() -> Told:
    """Two workers for 100 s: the second has a failure, and nothing to do in the end."""
    failed = Result(1, 2, NAN, 10.0, Status.FAILED, {"worker": 1, "gpu": "1", "reason": "loss is NaN"})
    return [
        (20.0, _by(0, 0, 1, 15.0)),
        (22.0, _by(1, 1, 1, 20.0, "1")),
        (33.0, failed),
        (40.0, _by(0, 0, 2, 20.0)),
        (50.0, _by(1, 2, 1, 10.0, "1")),
        (100.0, _by(0, 3, 1, 50.0)),
    ]


def test_epochs_that_follow_each_other_are_one_bar(tmp_path: Path, write_run: WriteRun, told: Told) -> None:
    view = write_run(tmp_path / "run", told)
    assert bars(Timeline(view.record.entries), 100.0) == [
        Bar(0, 0, 5.0, 40.0, finished=True),
        Bar(0, 3, 50.0, 100.0, finished=True),
        Bar(1, 1, 2.0, 22.0, finished=True),
        Bar(1, 1, 23.0, 33.0, finished=False),
        Bar(1, 2, 40.0, 50.0, finished=True),
    ]


def test_the_chart_says_who_was_busy_and_what_the_rest_was(
    tmp_path: Path, write_run: WriteRun, told: Told
) -> None:
    view = write_run(tmp_path / "run", told)
    timeline = Timeline(view.record.entries)
    drawn = workers_chart(view, timeline)
    for text in ("0, GPU 0", "1, GPU 1", "85%", "40%", "failed or cut off", "a new best", "#3"):
        assert text in drawn.svg, text
    said = summary(timeline.times(100.0)).replace("\u00a0", " ")
    assert said == (
        "2 workers were busy for 2 min 5 s of their 3 min 20 s together, 62%; the rest: "
        "7 s before the first epoch (start), 18 s between epochs (deciding, handing over) and "
        "50 s after the last one (nothing left that fits, or nothing finished)."
    )
    assert said in drawn.note.replace("\u00a0", " ")


def test_what_was_no_training_is_that_of_all_workers(tmp_path: Path, write_run: WriteRun, told: Told) -> None:
    drawn = spending_chart(write_run(tmp_path / "run", told))
    assert "minutes of all workers" in drawn.svg
    assert "starting, deciding" in drawn.svg


def test_one_worker_has_no_section_and_several_have(
    tmp_path: Path, write_run: WriteRun, results: Told, told: Told
) -> None:
    alone = run_report(write_run(tmp_path / "alone", results))
    together = run_report(write_run(tmp_path / "together", told))
    assert 'id="workers"' not in alone.html
    assert 'id="workers"' in together.html
    assert {chart.name for chart in together.charts} - {chart.name for chart in alone.charts} >= {"workers"}


def test_any_gpu_may_be_named_and_none_need_be(tmp_path: Path, write_run: WriteRun) -> None:
    hostile = "GPU-<script>alert(1)</script>-and-so-on-and-so-on"
    told = [
        (3.0, _by(0, 0, 1, 2.0, hostile)),
        (4.0, Result(1, 1, 0.5, 3.0, info={"worker": 1})),
    ]
    html = run_report(write_run(tmp_path / "run", told)).html
    assert "<script>alert" not in html
    assert "worker 1" in html
    heads, *rows = re.findall(r"<tr>(.*?)</tr>", html[html.index("Seconds of each worker") :], re.DOTALL)[:3]
    assert {row.count("<td") + row.count("<th") for row in rows} == {heads.count("<th")}


def test_very_many_epochs_stay_small(tmp_path: Path, write_run: WriteRun) -> None:
    configs = [{"lr": 0.001 * i} for i in range(2 * MOST_VECTORS)]
    view = write_run(tmp_path / "run", [], configs=configs)
    entries = tuple(Entry(_by(i % 2, i, 1, 1.0), 1.0 + i) for i in range(len(configs)))
    view = replace(view, record=replace(view.record, entries=entries))
    timeline = Timeline(view.record.entries)
    assert len(bars(timeline, view.record.elapsed)) > MOST_VECTORS
    assert len(workers_chart(view, timeline).inline) < 400_000
