"""What the charts of a run are drawn from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qtt.reporting import hyperparameters
from qtt.reporting.progress import MOST_VECTORS, curves_chart, incumbent_chart, incumbent_steps
from qtt.reporting.run_view import RunView
from qtt.reporting.spending import MOST_BARS, Spent, spending, spending_chart
from qtt.reporting.tradeoffs import tradeoff_charts
from qtt.types import Result

WriteRun = Callable[..., RunView]
Told = list[tuple[float, Result]]


def test_improvements_come_with_their_time(tmp_path: Path, write_run: WriteRun, results: Told) -> None:
    assert incumbent_steps(write_run(tmp_path / "run", results)) == [(5.0, 0.5), (12.0, 0.8)]


def test_the_budget_is_counted_by_model(tmp_path: Path, write_run: WriteRun, results: Told) -> None:
    view = write_run(tmp_path / "run", results)
    first, second = view.pipeline(0)["model"], view.pipeline(1)["model"]
    assert spending(view) == [Spent(first, 9.0, 40.0, 3, 2), Spent(second, 2.0, 2.0, 1, 2)]


def test_without_models_the_budget_is_counted_by_pipeline(tmp_path: Path, write_run: WriteRun) -> None:
    configs = [{"lr": 0.1 * i} for i in range(MOST_BARS + 5)]
    told = [(float(i + 1), Result(i, 1, 0.1, 1.0 + i)) for i in range(len(configs))]
    view = write_run(tmp_path / "run", told, configs=configs)
    assert spending(view)[0] == Spent(f"#{len(configs) - 1}", float(len(configs)), 0.0, 1, 1)
    drawn = spending_chart(view)
    assert "5 others" in drawn.svg
    assert "by pipeline" in drawn.title
    assert [c.name for c in tradeoff_charts(view)] == ["score-against-seconds"]


def test_curves_show_failures_and_name_the_winner(tmp_path: Path, write_run: WriteRun, results: Told) -> None:
    drawn = curves_chart(write_run(tmp_path / "run", results))
    assert "failed in the next epoch" in drawn.svg
    assert "winner, #0" in drawn.svg
    assert "1 pipeline failed before the first epoch ended" in drawn.note


def test_very_many_curves_stay_small(tmp_path: Path, write_run: WriteRun) -> None:
    configs = [{"lr": 0.001 * i} for i in range(400)]
    told = [
        (float(i * 30 + e), Result(i, e, 0.5 + e / 100 + i / 10000, 1.0))
        for i in range(len(configs))
        for e in range(1, 31)
    ]
    assert len(told[::5]) > MOST_VECTORS
    view = write_run(tmp_path / "run", told[::5], configs=configs)
    for drawn in (curves_chart(view), incumbent_chart(view)):
        assert len(drawn.inline) < 400_000


def test_slices_order_values_and_count_pipelines(tmp_path: Path, write_run: WriteRun) -> None:
    configs = [{"lr": v} for v in (0.01, 0.1, 0.01, None)] + [{"opt": "adam"}]
    told = [(float(i + 1), Result(i, 1, s, 1.0)) for i, s in enumerate((0.2, 0.5, 0.4, 0.3, 0.1))]
    drawn = hyperparameters.slice_chart(write_run(tmp_path / "run", told, configs=configs), "lr")
    assert drawn.alt.endswith(
        "Medians: none 0.3000 (1), 0.01 0.3000 (2), 0.1 0.5000 (1) and not used 0.1000 (1)."
    )


def test_a_continuous_hyperparameter_is_scattered(tmp_path: Path, write_run: WriteRun) -> None:
    configs = [{"a/b": 0.5**i} for i in range(30)]
    told = [(float(i + 1), Result(i, 1, i / 30, 1.0)) for i in range(30)]
    drawn = hyperparameters.slice_chart(write_run(tmp_path / "run", told, configs=configs), "a/b")
    assert drawn.name == "slice-a-b"
    assert drawn.note == "One dot per pipeline."


@pytest.mark.parametrize("score", [0.0, 1.0, -1234.5, 1e9])
def test_any_single_score_can_be_drawn(tmp_path: Path, write_run: WriteRun, score: float) -> None:
    view = write_run(tmp_path / "run", [(1.0, Result(0, 1, score, 0.001))])
    for drawn in (incumbent_chart(view), curves_chart(view), spending_chart(view), *tradeoff_charts(view)):
        assert drawn.svg
