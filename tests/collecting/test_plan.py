"""Drawing pipelines, naming runs, what is known of a run, and how progress is told."""

import json
from datetime import datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from qtt.collecting.frames import config_rows, curve_rows, dataset_rows, run_rows
from qtt.collecting.plan import Plan, draw_pipelines, run_names
from qtt.collecting.progress import ProgressWatcher, expected_end, overview
from qtt.collecting.record import RunRecord, records
from qtt.collecting.runs import Run
from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.search_space import build_space
from qtt.types import Candidates, MetaFeatures, ModelCard, Result, Status, TaskInfo

HUB = ModelHub("two", tuple(ModelCard(name, name, "resnet", 1.0, 32) for name in ("a", "b")))
MANAGER = ConfigManager(build_space("full", HUB), HUB)


def _narrow(**keep: list[object]) -> ConfigManager:
    single = {name: [options[0]] for name, options in MANAGER.options.items()}
    return ConfigManager(build_space("full", HUB, {**single, **keep}), HUB)


def test_more_pipelines_add_to_fewer() -> None:
    few, many = (draw_pipelines(MANAGER, n, 3, "beans") for n in (5, 40))
    assert many.configs[:5] == few.configs
    assert len({json.dumps(config) for config in many.configs}) == 40
    assert all(MANAGER.validate(config) == config for config in many.configs)
    assert {card.name for card in many.models} == {config["model"] for config in many.configs}


def test_every_dataset_and_seed_has_pipelines_of_its_own() -> None:
    drawn = [draw_pipelines(MANAGER, 5, seed, name).configs for seed in (0, 1) for name in ("beans", "peas")]
    assert len({json.dumps(configs) for configs in drawn}) == 4


def test_a_small_space_gives_all_it_has() -> None:
    manager = _narrow(model=["a", "b"], drop=[0.0, 0.1, 0.2])
    configs = draw_pipelines(manager, 50, 0, "beans").configs
    assert {(config["model"], config["drop"]) for config in configs} == {
        (model, drop) for model in ("a", "b") for drop in (0.0, 0.1, 0.2)
    }
    assert len(configs) == 6


def test_no_pipelines_are_refused() -> None:
    with pytest.raises(ConfigError, match="runs_per_dataset must be at least 1; got 0"):
        draw_pipelines(MANAGER, 0, 0, "beans")


def test_names_of_runs_tell_collections_apart() -> None:
    one, two = (run_names("beans", 3, {"seed": seed}) for seed in (0, 1))
    assert len({*one, *two}) == 6
    assert all(name.startswith("beans-") and name.endswith(f"-000{i}") for i, name in enumerate(one))


def _success(epoch: int, score: float, config_id: int = 0, **info: object) -> Result:
    return Result(config_id, epoch, score, 0.5, info=info)


def _end(epoch: int, status: Status, config_id: int = 0, **info: object) -> Result:
    return Result(config_id, epoch, float("nan"), 1.0, status, info)


def test_a_record_says_how_a_run_ended() -> None:
    epochs = [_success(1, 0.3), _success(2, 0.5), _success(3, 0.4)]
    failed = _end(4, Status.FAILED, reason="no memory")
    assert [RunRecord(epochs).end(n) for n in (2, 3, 4)] == ["finished", "finished", None]
    assert RunRecord().end(1) is None
    assert RunRecord([*epochs, failed]).end(4) == "failed"
    assert RunRecord([*epochs, failed]).note == "no memory"
    assert RunRecord([*epochs, _end(4, Status.TIMEOUT)]).end(4) == "capped"
    assert RunRecord([*epochs, failed, _success(4, 0.1)]).end(4) == "finished"
    assert (RunRecord(epochs).epochs, RunRecord(epochs).seconds, RunRecord(epochs).best) == (3, 1.5, 0.5)


def test_records_keep_the_first_report_of_an_epoch() -> None:
    told = [_success(1, 0.3), _success(1, 0.9, 1), _success(1, 0.8), _success(2, 0.4)]
    found = records(told, 3)
    assert [[r.score for r in record.curve] for record in found] == [[0.3, 0.4], [0.9], []]


def test_peak_memory_is_that_of_the_largest_epoch() -> None:
    assert RunRecord([_success(1, 0.1)]).max_memory is None
    record = RunRecord([_success(1, 0.1, max_memory_mb=3), _success(2, 0.1, max_memory_mb=2.5)])
    assert record.max_memory == 3e6


@pytest.fixture
def runs() -> list[Run]:
    candidates = Candidates(
        ({"model": "a", "opt": "adam", "opt_betas": (0.9, 0.99)}, {"model": "b", "lr": 0.1})
    )
    plan = Plan(
        "beans",
        TaskInfo(Path("beans"), ("x", "y")),
        MetaFeatures(480, 20, 128, 3),
        candidates,
        ("beans-0", "beans-1"),
        "set0",
        "plants",
    )
    told = [
        _success(1, 0.25, 0, val_loss=1.5, max_memory_mb=2),
        _success(2, 0.5, 0, val_loss=1.25),
        _success(1, 0.125, 1),
        _end(2, Status.FAILED, 1, reason="diverged"),
    ]
    return [Run(plan, i, record) for i, record in enumerate(records(told, 2))]


def test_runs_become_rows(runs: list[Run]) -> None:
    ended = [(run, str(run.record.end(2))) for run in runs]
    configs = config_rows(ended)
    assert list(configs.columns) == ["run_id", "dataset", "model", "opt", "opt_betas", "lr"]
    assert configs.values.tolist() == [
        ["beans-0", "beans", "a", "adam", (0.9, 0.99), None],
        ["beans-1", "beans", "b", None, None, 0.1],
    ]
    curves = curve_rows(ended)
    assert list(zip(curves.run_id, curves.epoch, curves.score, curves.seconds, strict=True)) == [
        ("beans-0", 1, 0.25, 0.5),
        ("beans-0", 2, 0.5, 0.5),
        ("beans-1", 1, 0.125, 0.5),
    ]
    assert curves.loss.iloc[:2].tolist() == [1.5, 1.25] and curves.loss.isna().iloc[2]
    assert dataset_rows([runs[0].plan]).to_dict("records") == [
        {
            "dataset": "beans",
            "set": "set0",
            "domain": "plants",
            "train_images": 480,
            "num_classes": 20,
            "image_size": 128,
            "channels": 3,
        }
    ]
    rows = run_rows(ended)
    assert rows.status.tolist() == ["finished", "failed"]
    assert rows.note.isna().iloc[0] and rows.note.iloc[1] == "diverged"
    assert rows.max_memory.iloc[0] == 2e6 and rows.max_memory.isna().iloc[1]


def test_the_expected_end() -> None:
    noon = datetime(2024, 2, 28, 12)
    assert expected_end(10, 0, 5.0, noon) == "expected end not known yet"
    assert expected_end(0, 10, 5.0, noon) == "done"
    assert expected_end(60, 30, 1800.0, noon) == "expected end 13:00"
    assert expected_end(2 * 24 * 60, 60, 3600.0, noon) == "expected end 2024-03-01 12:00"


def _console(terminal: bool) -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(file=text, force_terminal=terminal, width=150), text


def test_progress_is_shown_in_terminals_only(runs: list[Run]) -> None:
    for terminal in (True, False):
        console, text = _console(terminal)
        fresh = [Run(run.plan, run.config_id, RunRecord()) for run in runs]
        with ProgressWatcher(console, fresh, 2) as watcher:
            watcher.epoch(fresh[0], _success(1, 0.1))
            watcher.epoch(fresh[0], _success(2, 0.1))
            watcher.ended(fresh[0], "finished", 0)
            watcher.epoch(fresh[1], _success(1, 0.1))
            watcher.ended(fresh[1], "failed", 1)
        if terminal:
            assert "2/2 runs, 1 failed" in text.getvalue() and "4/4" in text.getvalue()
        else:
            assert not text.getvalue().strip()


def test_the_overview_counts(runs: list[Run]) -> None:
    console, text = _console(False)
    console.print(overview(runs, 2))
    row = next(line for line in text.getvalue().splitlines() if "beans" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        *("beans", "2", "1", "0", "1", "0", "3", "0.00", "0.5000")
    ]


def test_a_terminal_shows_what_is_prepared() -> None:
    out = StringIO()
    with ProgressWatcher(Console(file=out, force_terminal=True, width=120), [], 3) as watcher:
        watcher.preparing("Fetching weights: 1 of 2")
        watcher._progress.refresh()
        assert "Fetching weights: 1 of 2" in out.getvalue()
        watcher.preparing("")
        watcher._progress.refresh()
    assert "0/0 runs" in out.getvalue().rsplit("Fetching", 1)[1]
