from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qtt.errors import ConfigError
from qtt.runs.history import History
from qtt.runs.journal import Entry
from qtt.tracking import SearchInfo
from qtt.tracking.tensorboard import TensorboardTracker
from qtt.types import Candidates, Result, Trial
from trackers import CANDIDATES, ENTRIES, play, search, tell

pytestmark = pytest.mark.skipif(find_spec("tensorboard") is None, reason="the extra tensorboard is missing")

Points = dict[str, list[tuple[int, float]]]


def _reader() -> Any:
    """What TensorBoard reads event files with."""
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    return EventMultiplexer(tensor_size_guidance={"tensors": 0})


def _runs(path: Path, reader: Any = None) -> Iterator[tuple[str, Any]]:
    """TensorBoard's runs as TensorBoard reads them."""
    reader = reader or _reader()
    reader.AddRunsFromDirectory(str(path / "tensorboard"))
    reader.Reload()
    for name in sorted(reader.Runs()):
        yield name, reader.GetAccumulator(name)


def _scalars(path: Path, reader: Any = None) -> dict[str, Points]:
    from tensorboard.util.tensor_util import make_ndarray

    return {
        name: {
            tag: [(e.step, round(float(make_ndarray(e.tensor_proto)), 6)) for e in run.Tensors(tag)]
            for tag in run.PluginTagToContent("scalars")
        }
        for name, run in _runs(path, reader)
    }


def _texts(path: Path, tag: str) -> list[str]:
    run = dict(_runs(path))["search"]
    return [event.tensor_proto.string_val[0].decode() for event in run.Tensors(tag)]


EXPECTED = {
    "pipelines/0000 vit": {
        "curve/score": [(1, 0.5)],
        "curve/best": [(1, 0.5)],
        "curve/seconds": [(1, 1.0)],
    },
    "pipelines/0001 resnet": {
        "curve/score": [(1, 0.75), (2, 0.7)],
        "curve/best": [(1, 0.75), (2, 0.75)],
        "curve/seconds": [(1, 2.0), (2, 2.5)],
    },
    "pipelines/0002 resnet": {
        "curve/score": [(1, 0.8)],
        "curve/best": [(1, 0.8)],
        "curve/seconds": [(1, 1.5)],
    },
    "search": {
        "incumbent/by_seconds": [(10, 0.5), (20, 0.75), (30, 0.75), (40, 0.75), (50, 0.8)],
        "incumbent/by_epochs": [(1, 0.5), (2, 0.75), (3, 0.75), (4, 0.8)],
        "results/score": [(1, 0.5), (2, 0.75), (4, 0.7), (5, 0.8)],
        "results/seconds": [(1, 1.0), (2, 2.0), (3, 1.0), (4, 2.5), (5, 1.5)],
        "results/failures": [(1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0), (5, 1.0)],
    },
}


def test_tensorboard_reads_every_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(TensorboardTracker(), tmp_path)
    assert _scalars(tmp_path) == EXPECTED
    assert capsys.readouterr().out == f"TensorBoard: tensorboard --logdir {tmp_path / 'tensorboard'}\n"


@pytest.mark.parametrize("known", [1, 3, 5])
def test_a_resumed_search_has_every_point_once(known: int, tmp_path: Path) -> None:
    killed = TensorboardTracker(quiet=True)
    killed.start(search(tmp_path))
    tell(killed, ENTRIES[: known - 1], History())  # the last result was journaled, and then it died
    play(TensorboardTracker(quiet=True), tmp_path, known=known)
    assert _scalars(tmp_path) == EXPECTED


def test_a_viewer_that_was_open_meanwhile_has_every_point_once(tmp_path: Path) -> None:
    viewer = _reader()
    play(TensorboardTracker(quiet=True), tmp_path, until=3)
    assert len(_scalars(tmp_path, viewer)["search"]["results/seconds"]) == 3
    play(TensorboardTracker(quiet=True), tmp_path, known=3)
    assert _scalars(tmp_path, viewer) == EXPECTED


def test_relative_time_is_seconds_of_the_budget(tmp_path: Path) -> None:
    play(TensorboardTracker(quiet=True), tmp_path, until=2)
    play(TensorboardTracker(quiet=True), tmp_path, known=2)
    times = [event.wall_time for event in dict(_runs(tmp_path))["search"].Tensors("results/seconds")]
    assert [round(time - times[0]) for time in times] == [0, 10, 20, 30, 40]


def test_texts_hold_table_failures_and_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    play(TensorboardTracker(quiet=True), tmp_path)
    header, _, best, *_ = _texts(tmp_path, "pipelines")[-1].splitlines()
    assert header.startswith("| config_id | score | epoch | epochs | seconds | model | lr |")
    assert best.startswith("| 2 | 0.8 | 1 | 1 | 1.5 | resnet | 0.001 |")
    assert _texts(tmp_path, "failures") == ["**0000 vit**: out of [memory]"]
    assert _texts(tmp_path, "config") == ["```yaml\nseed: 7\n```"]
    assert _texts(tmp_path, "metric") == ["accuracy"]


def test_hyperparameters_are_there_for_comparing_pipelines(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import plugin_data_pb2

    play(TensorboardTracker(quiet=True), tmp_path)
    run = dict(_runs(tmp_path))["pipelines/0002 resnet"]
    content = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    data = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert {name: value.WhichOneof("kind") for name, value in data.items()} == {
        "model": "string_value",
        "lr": "number_value",
        "clip_grad": "string_value",
    }
    assert data["lr"].number_value == 0.001


def test_proposed_pipelines_may_come_in_any_order(tmp_path: Path) -> None:
    """Also with a model whose name is a path, and while the table is written on the way."""
    grown = Candidates((*CANDIDATES.configs, {"model": "other"}, {"model": "hf-hub:timm/vit"}), (), 2)
    entries = tuple(Entry(Result(4, epoch, 0.1, 1.0), float(epoch)) for epoch in range(1, 10))
    tracker = TensorboardTracker(quiet=True)
    tracker.start(search(tmp_path))
    history = History()
    for entry in entries:
        tracker.asked(Trial(4, grown.configs[4], entry.result.fidelity), entry.elapsed)
        history.add(entry.result)
        tracker.told(entry.result, history, entry.elapsed)
    assert "| hf-hub:timm/vit |" in _texts(tmp_path, "pipelines")[0]
    assert "pipelines/0004 hf-hub-timm-vit" in _scalars(tmp_path)
    tracker = TensorboardTracker(quiet=True)
    info = search(tmp_path)
    tracker.start(SearchInfo(tmp_path, info.optimizer, info.task, grown, info.budget, entries))
    assert len(_scalars(tmp_path)["pipelines/0004 hf-hub-timm-vit"]["curve/score"]) == len(entries)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtt.tracking.tensorboard.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'qtt\[tensorboard\]'"):
        TensorboardTracker()
