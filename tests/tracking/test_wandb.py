import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qtt.errors import ConfigError
from qtt.runs.history import History
from qtt.tracking import SearchInfo, TrackerGroup
from qtt.tracking import wandb as module
from qtt.tracking.wandb import WandbTracker
from trackers import ENTRIES, RESULTS, play, search, summary, tell
from waiting import LIMIT

pytestmark = [
    pytest.mark.skipif(find_spec("wandb") is None, reason="the extra wandb is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B's caches stay in the test's folder, and its service has all the time and ends with the test."""
    monkeypatch.setattr(module, "INIT_SECONDS", LIMIT)
    monkeypatch.setenv("WANDB__SERVICE_WAIT", str(LIMIT))
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    yield
    import wandb

    wandb.teardown()


def _records(path: Path) -> list[dict[str, Any]]:
    """Records of all offline runs below `path` as W&B's own tool reads them, the oldest run first.

    `run.finish()` returns a moment before W&B's service has written its file; `teardown` waits for that.
    """
    import wandb

    wandb.teardown()
    records = []
    for folder in sorted(path.glob("wandb/offline-run-*"), key=lambda folder: folder.stat().st_ctime):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
        records += [json.loads(line) for line in lines]
    return records


def _history(path: Path) -> list[dict[str, Any]]:
    return [r["history"]["item"] for r in _records(path) if r["type"] == "history"]


def _series(rows: list[dict[str, Any]], name: str, over: str) -> list[tuple[float, float]]:
    return [(row[over], row[name]) for row in rows if name in row]


def _keep_incumbent(path: Path) -> None:
    (path / "incumbent").mkdir()
    (path / "incumbent" / "weights.safetensors").write_bytes(b"weights")
    (path / "incumbent" / "model.json").write_text("{}")


def test_the_offline_run_holds_every_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(WandbTracker(mode="offline"), tmp_path)
    rows = _history(tmp_path)
    incumbent = [0.5, 0.75, 0.75, 0.75, 0.8]
    by_seconds = list(zip([10, 20, 30, 40, 50], incumbent, strict=True))
    by_epochs = list(zip([1, 2, 2, 3, 4], incumbent, strict=True))
    assert _series(rows, "incumbent", "elapsed") == by_seconds
    assert _series(rows, "incumbent_by_epochs", "epochs") == by_epochs
    assert _series(rows, "curves/0000 vit", "epoch") == [(1, 0.5)]
    assert _series(rows, "curves/0001 resnet", "epoch") == [(1, 0.75), (2, 0.7)]
    assert _series(rows, "failures", "_step") == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]
    folder = next(tmp_path.glob("wandb/offline-run-*"))
    printed = capsys.readouterr().out
    assert printed == f"Weights & Biases: offline; upload it with: wandb sync {folder}\n"


def test_tables_summary_config_and_incumbent_are_there(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("budget: {seconds: 60}\n")
    _keep_incumbent(tmp_path)
    play(WandbTracker(mode="offline", quiet=True), tmp_path, interrupted=True)
    records = _records(tmp_path)
    config = next(record["run"]["config"]["update"] for record in records if record["type"] == "run")
    assert config["config"] == {"budget": {"seconds": 60}}
    assert config["metric"] == "accuracy"
    assert config["candidates"] == 3
    artifacts = {r["artifact"]["type"]: r["artifact"] for r in records if r["type"] == "artifact"}
    contents = artifacts["model"]["manifest"]["contents"]
    assert [content["path"] for content in contents] == ["model.json", "weights.safetensors"]
    assert all(Path(content["local_path"]).is_relative_to(tmp_path) for content in contents)
    tables = {
        path.name.split("_")[0]: json.loads(path.read_text()) for path in tmp_path.rglob("*.table.json")
    }
    assert [row[0] for row in tables["pipelines"]["data"]] == [2, 1, 0]
    assert tables["curves"]["columns"] == ["pipeline", "model", "epoch", "score", "seconds"]
    assert tables["curves"]["data"] == [
        ["0000 vit", "vit", 1, 0.5, 1.0],
        ["0001 resnet", "resnet", 1, 0.75, 2.0],
        ["0001 resnet", "resnet", 2, 0.7, 2.5],
        ["0002 resnet", "resnet", 1, 0.8, 1.5],
    ]
    figures: dict[str, Any] = {}
    for record in records:
        figures |= record["summary"]["update"] if record["type"] == "summary" else {}
    assert (figures["incumbent"], figures["incumbent_id"], figures["failures"]) == (0.8, 2, 1)
    assert figures["interrupted"] is True


def test_a_resumed_search_goes_on_in_its_run(tmp_path: Path) -> None:
    play(WandbTracker(mode="offline", quiet=True), tmp_path, until=2)
    identity = json.loads((tmp_path / "wandb.json").read_text())["id"]
    play(WandbTracker(mode="offline", quiet=True), tmp_path, known=2)
    play(WandbTracker(mode="offline", quiet=True), tmp_path, known=5)
    assert json.loads((tmp_path / "wandb.json").read_text())["id"] == identity
    records = _records(tmp_path)
    steps = [record["history"]["step"]["num"] for record in records if record["type"] == "history"]
    assert steps == [1, 2, 3, 4, 5]
    assert {record["run"]["run_id"] for record in records if record["type"] == "run"} == {identity}


KILLED = """
import os, sys, time
from pathlib import Path
from qtt.runs.history import History
from qtt.tracking.wandb import WandbTracker
from trackers import ENTRIES, search, tell
path = Path(sys.argv[1])
tracker = WandbTracker(mode="offline")
tracker.start(search(path, 1))
tell(tracker, ENTRIES[1:4], History())
while getattr(tracker._run, "_steps", 0) < 4:
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_search_lost_is_logged_when_it_is_resumed(tmp_path: Path) -> None:
    play(WandbTracker(mode="offline", quiet=True), tmp_path, until=1)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("WANDB_SERVICE", None)  # its own service, which dies with it
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, timeout=LIMIT)
    assert killed.returncode == -9
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    play(WandbTracker(mode="offline", quiet=True), tmp_path, known=4)
    assert [row["_step"] for row in _history(tmp_path)] == [1, 2, 3, 4, 5]


def test_wandb_sync_takes_the_folder(tmp_path: Path) -> None:
    play(WandbTracker(mode="offline", quiet=True), tmp_path)
    _records(tmp_path)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", str(folder)]
    told = subprocess.run(command, capture_output=True, check=True, text=True, cwd=tmp_path)
    assert "Would sync 1 run" in told.stdout + told.stderr


def test_where_the_server_does_not_answer_the_run_is_kept_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()
    usual = module._Run._init

    def init(self: Any, search: SearchInfo, mode: Any) -> Any:
        assert told.wait(LIMIT), "the search waits"
        monkeypatch.setattr(module, "INIT_SECONDS", 3.0 if mode == "online" else LIMIT)
        return usual(self, search, mode)

    monkeypatch.setattr(module._Run, "_init", init)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()  # connections are accepted and never answered
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        tracker = WandbTracker(mode="online", quiet=True)
        tracker.start(search(tmp_path))
        history = History()
        tell(tracker, ENTRIES, history)
        told.set()
        tracker.finish(summary(tmp_path, history))
    assert "Weights & Biases cannot be reached" in caplog.text
    monkeypatch.delenv("WANDB_BASE_URL")
    assert len(_history(tmp_path)) == len(RESULTS)


def test_without_a_login_the_run_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    play(WandbTracker(quiet=True), tmp_path)
    assert len(_history(tmp_path)) == len(RESULTS)


def test_a_run_of_the_callers_goes_on(tmp_path: Path) -> None:
    import wandb

    theirs = wandb.init(mode="offline", dir=tmp_path / "theirs", settings=wandb.Settings(silent=True))
    play(WandbTracker(mode="offline", quiet=True), tmp_path)
    assert wandb.run is theirs
    theirs.log({"mine": 1})
    theirs.finish()
    assert len(_history(tmp_path)) == len(RESULTS)


def test_a_service_that_dies_does_not_stop_the_search(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = WandbTracker(mode="offline", quiet=True)

    def die(*arguments: object, **named: object) -> None:
        raise BrokenPipeError("the service is gone")

    monkeypatch.setattr(tracker._run, "told", die)
    play(TrackerGroup([tracker]), tmp_path)
    assert "WandbTracker failed and is switched off: the service is gone" in caplog.text


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qtt.tracking.wandb.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        WandbTracker()


@pytest.mark.parametrize("how", ["variable", "settings"])
def test_disabled_it_writes_nothing_and_speaks_of_no_upload(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    run_dir = tmp_path / "run"
    run_dir.mkdir()
    _keep_incumbent(run_dir)
    if how == "variable":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    else:  # as after `wandb disabled`, whose file W&B reads in no test
        monkeypatch.delenv("WANDB_MODE")
        wandb.setup(settings=wandb.Settings(mode="disabled"))
    play(WandbTracker(), run_dir)
    assert {path.name for path in run_dir.iterdir()} == {"incumbent"}
    assert capsys.readouterr().out == "Weights & Biases: disabled; nothing is kept\n"


def test_what_was_not_logged_while_disabled_is_logged_by_the_next_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        play(WandbTracker(quiet=True), tmp_path, until=2)
    play(WandbTracker(mode="offline", quiet=True), tmp_path, known=2)
    assert len(_series(_history(tmp_path), "incumbent", "elapsed")) == len(RESULTS)


def test_results_of_several_workers_say_whose_they_are_and_how_busy_all_were(tmp_path: Path) -> None:
    told = [
        replace(entry, result=replace(entry.result, info={**entry.result.info, "worker": number % 2}))
        for number, entry in enumerate(ENTRIES[:3])
    ]
    tracker = WandbTracker(mode="offline", quiet=True)
    tracker.start(replace(search(tmp_path), entries=tuple(told[:1])))
    history = History(entry.result for entry in told[:1])
    tell(tracker, told[1:], history)
    tracker.finish(summary(tmp_path, history))
    rows = _history(tmp_path)
    assert _series(rows, "worker", "elapsed") == [(10, 0), (20, 1), (30, 0)]
    assert [share for _, share in _series(rows, "utilisation", "elapsed")] == pytest.approx([0.1, 0.1, 0.08])
