"""Room on disks; that in memory is checked beside the command that shows it."""

import shutil
from pathlib import Path

import pytest

from qtt.support import resources


def test_a_folder_that_is_not_there_yet_has_the_room_of_the_one_above(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    assert resources.existing(inner) == tmp_path
    assert resources.existing(tmp_path) == tmp_path
    assert resources.refusal(inner) is None
    assert resources.free_disk(inner) <= shutil.disk_usage(tmp_path).total
    assert not (tmp_path / "a").exists()


def test_the_reason_is_that_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert resources.refusal(tmp_path / "file" / "folder") == "Not a directory"

    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert resources.refusal(tmp_path) == "Permission denied"


def test_what_is_free_is_no_more_than_the_container_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bound").write_text("1000")
    (tmp_path / "meminfo").write_text("MemAvailable: 2 kB\n")
    monkeypatch.setattr(resources, "CGROUPS", (str(tmp_path / "bound"),))
    assert resources.memory(tmp_path / "meminfo") == (1000, 1000)
    (tmp_path / "bound").write_text("4000")
    assert resources.memory(tmp_path / "meminfo") == (4000, 2048)
