"""Folders and addresses: written to, and asked."""

from pathlib import Path

import pytest

from qtt.diagnosis import places


@pytest.fixture(autouse=True)
def _usual_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in places.INDEX_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_model_hub_is_asked_at_its_endpoint_unless_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    asked: list[str] = []
    monkeypatch.setattr(constants, "ENDPOINT", "https://me:secret@mirror.example")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (offline,) = places.model_hub(lambda url: asked.append(url))
    assert (offline.level, asked) == ("ok", [])
    assert "HF_HUB_OFFLINE" in offline.found
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    (there,) = places.model_hub(lambda url: asked.append(url))
    assert asked == ["https://me:secret@mirror.example"]
    assert (there.level, there.found) == ("ok", "https://mirror.example answers")
    (gone,) = places.model_hub(lambda url: "no route")
    assert gone.level == "warning"
    assert gone.found == "https://mirror.example cannot be reached: no route"
    assert "weights_dir" in gone.mend


def test_the_package_index_is_the_one_that_installers_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    (usual,) = places.package_index(lambda url: None)
    assert usual.found == f"{places.INDEX} answers"
    monkeypatch.setenv("PIP_INDEX_URL", "https://name:password@index.example/simple")
    (own,) = places.package_index(lambda url: "no route")
    assert own.found == "https://index.example/simple cannot be reached: no route"
    assert own.level == "warning"
    assert "password" not in repr(own)


def test_a_folder_is_looked_at_without_being_made(tmp_path: Path) -> None:
    (finding,) = places.folder("cache", tmp_path / "a" / "b", "another")
    assert finding.found.startswith(f"{tmp_path / 'a' / 'b'}, ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_room_or_rights_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LITTLE_DISK", 2**80)
    (full,) = places.folder("cache", tmp_path, "QTT_CACHE names another")
    assert (full.level, full.mend) == ("warning", "Make room, or: QTT_CACHE names another")

    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    (locked,) = places.folder("cache", tmp_path, "QTT_CACHE names another")
    assert (locked.level, locked.mend) == ("problem", "QTT_CACHE names another")
    assert locked.found == f"{tmp_path} cannot be written to: Permission denied"
