import json
import subprocess
from pathlib import Path

import pytest

from qtt.runs import environment as module
from qtt.runs.environment import commit, differences, environment, hardware


def test_it_names_versions_commit_and_hardware() -> None:
    told = json.loads(json.dumps(environment()))
    assert set(told) == {"python", "platform", "packages", "commit", "hardware", "command"}
    assert told["packages"]["torch"] and told["hardware"]["cores"] >= 1
    assert set(told["hardware"]) == {"cpu", "cores", "threads", "memory_gb", "gpus"}


def _git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_the_commit_says_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    _git(tmp_path, "init")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-m", "a")
    commit.cache_clear()
    clean = commit(tmp_path)
    assert clean is not None and len(clean) == 12
    (tmp_path / "src" / "a.py").write_text("2")
    commit.cache_clear()
    assert commit(tmp_path) == f"{clean}+"


def test_gpus_are_named_by_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t NVIDIA H100\nIRQ: 3\n")
    monkeypatch.setattr(module, "GPU_FACTS", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert hardware()["gpus"] == ["NVIDIA H100"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert hardware()["gpus"] == ["0", "1"]


def test_differences_are_named_and_commands_are_none() -> None:
    one = {"python": "3.11", "packages": {"torch": "2", "timm": "1"}, "command": ["a"]}
    other = {"python": "3.12", "packages": {"torch": "2"}, "hardware": {"cores": 2}, "command": ["b"]}
    assert differences(one, other) == {"python": ("3.11", "3.12"), "timm": ("1", None), "cores": (None, 2)}
