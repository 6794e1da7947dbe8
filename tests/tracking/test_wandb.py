import json
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qtt.errors import ConfigError
from qtt.history import History
from qtt.journal import Entry
from qtt.tracking import SearchInfo, Summary
from qtt.tracking.wandb import WandbTracker
from qtt.types import Budget, Candidates, Result, TaskInfo

pytestmark = [
    pytest.mark.skipif(find_spec("wandb") is None, reason="the extra wandb is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

CANDIDATES = Candidates(({"model": "vit", "lr": 0.1}, {"model": "resnet", "lr": 0.01, "clip_grad": None}))
RESULTS = [Result(0, 1, 0.5, 1.0), Result(1, 1, 0.75, 2.0), Result(0, 2, 0.6, 1.0)]


def _search(path: Path, entries: tuple[Entry, ...] = ()) -> SearchInfo:
    return SearchInfo(path, "RandomOptimizer", TaskInfo(path=path), CANDIDATES, Budget(60.0), entries)


def _play(path: Path, results: list[Result], entries: tuple[Entry, ...] = ()) -> None:
    tracker = WandbTracker(mode="offline")
    tracker.start(_search(path, entries))
    history = History(entry.result for entry in entries)
    for result in results:
        history.add(result)
        tracker.told(result, history, 1.0)
    tracker.finish(Summary(path, CANDIDATES, history, 3.0, "Spent."))


def _history(path: Path) -> list[dict[str, Any]]:
    """Logged rows of all offline runs below `path`, read back from W&B's own files."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for file in sorted(path.glob("wandb/offline-run-*/run-*.wandb")):
        for data in _log_records(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            if record.HasField("history"):
                items = record.history.item
                rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
    return rows


def _log_records(data: bytes) -> Iterator[bytes]:
    """Records of a file in LevelDB's log format (blocks of 32 KiB; W&B puts 7 bytes ahead of the first)."""
    block, header = 32768, 7
    position, parts = header, b""
    while position + header <= len(data):
        if block - position % block < header:
            position += block - position % block
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + header])
        parts += data[position + header : position + header + length]
        position += header + length
        if kind in (1, 4):  # whole, or the last part of several
            yield parts
            parts = b""


def test_the_offline_run_holds_every_result(tmp_path: Path) -> None:
    _play(tmp_path, RESULTS)
    rows = [row for row in _history(tmp_path) if "incumbent" in row]
    assert [row["incumbent"] for row in rows] == [0.5, 0.75, 0.75]
    assert [row["config_id"] for row in rows] == [0, 1, 0]


def test_a_resumed_search_goes_on_in_its_run(tmp_path: Path) -> None:
    _play(tmp_path, RESULTS[:2])
    identity = json.loads((tmp_path / "wandb.json").read_text())
    _play(tmp_path, RESULTS[2:], tuple(Entry(result, 1.0) for result in RESULTS[:2]))
    assert json.loads((tmp_path / "wandb.json").read_text()) == identity
    assert [row["_step"] for row in _history(tmp_path) if "incumbent" in row] == [1, 2, 3]


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtt.tracking.wandb.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        WandbTracker()
