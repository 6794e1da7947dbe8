"""Entry points of other packages, as an installer lays them out: a folder with metadata on the path."""

import sys
from pathlib import Path

import pytest

from plugins import announce
from qtt.errors import ConfigError
from qtt.support.plugins import installed, load


def test_announced_things_are_found_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(tmp_path, "garden", {"qtt.trackers": {"rake": "garden_parts:Rake"}}, "class Rake: ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed("qtt.trackers")["rake"].value == "garden_parts:Rake"
    assert "garden_parts" not in sys.modules, "looking at names imports nothing"
    assert load("qtt.trackers", "rake").__name__ == "Rake"


def test_unknown_names_have_close_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(tmp_path, "garden", {"qtt.trackers": {"rake": "garden_parts2:Rake"}}, "class Rake: ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"Unknown tracker .rakes.\. Did you mean .rake."):
        load("qtt.trackers", "rakes")


def test_a_package_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(tmp_path, "garden", {"qtt.trackers": {"rake": "garden_parts3:Rake"}}, "1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"'rake' \(garden_parts3:Rake\) cannot be imported: ZeroDivision"):
        load("qtt.trackers", "rake")


def test_two_things_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("garden", "shed"):
        announce(tmp_path, package, {"qtt.trackers": {"rake": f"{package}:Rake"}}, "class Rake: ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="garden:Rake and shed:Rake"):
        installed("qtt.trackers")
