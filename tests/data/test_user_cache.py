"""Where caches lie: by the user's word, by custom, and where there is no home to speak of."""

import logging
import os
from pathlib import Path

import pytest

from qtt.data import user_cache as module
from qtt.data.cached_folder import cached_folder
from qtt.data.library_caches import library_caches
from qtt.data.user_cache import find_cache, in_user_cache, user_cache
from qtt.errors import ConfigError

LIBRARIES = ("HF_HOME", "MPLCONFIGDIR", "TORCH_HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a temporary directory of the test's own, and no word of the user's."""
    for name in ("QTT_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", *LIBRARIES):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    module._say.cache_clear()


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that nobody can write to, root neither: it lies below a file."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    return tmp_path / "tmp" / f"qtt-{os.getuid()}"


def test_the_user_s_word_comes_first_then_custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_cache() == tmp_path / "home" / ".cache" / "qtt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its specification has ignored
    assert user_cache() == tmp_path / "home" / ".cache" / "qtt"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "xdg" / "qtt"
    monkeypatch.setenv("QTT_CACHE", "~/mine")
    assert user_cache() == tmp_path / "home" / "mine"
    assert not list((tmp_path / "home").iterdir()), "asking makes nothing"


def test_without_a_home_it_is_the_user_s_own_temporary_folder_and_that_is_said_once(
    no_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "qtt"):
        assert user_cache() == user_cache() == no_home
    (message,) = caplog.messages
    assert str(no_home) in message
    assert "QTT_CACHE=DIR" in message
    assert no_home.stat().st_mode & 0o077 == 0, "others have no business there"


def test_a_user_who_is_in_no_list_has_a_cache_too(no_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert find_cache() == (no_home, "You have no home folder")
    assert set(library_caches()) == set(LIBRARIES)


def test_a_folder_that_others_could_fill_is_not_taken(no_home: Path, tmp_path: Path) -> None:
    no_home.mkdir()
    no_home.chmod(0o777)
    with pytest.raises(ConfigError, match=r"can be written to by others.*QTT_CACHE=DIR"):
        user_cache()
    no_home.rmdir()
    no_home.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=r"not a folder of yours.*QTT_CACHE=DIR"):
        user_cache()


def test_what_lies_in_a_cache_that_can_only_be_read_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "home" / ".cache" / "qtt"
    (usual / "digits").mkdir(parents=True)
    monkeypatch.setattr(module, "writable", lambda folder: False)
    assert in_user_cache("digits") == usual / "digits"
    assert in_user_cache("others").is_relative_to(tmp_path / "tmp")
    assert cached_folder("digits", lambda folder: pytest.fail("written again")) == usual / "digits"


def test_a_cache_that_was_named_and_cannot_be_written_to_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QTT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match=r"file/cache/digits \(Not a directory\).*QTT_CACHE=DIR"):
        cached_folder("digits", lambda folder: None)


def test_libraries_keep_their_caches_beside_ours_only_where_they_cannot_at_home(
    no_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = library_caches()
    assert set(places) == set(LIBRARIES)
    assert all(Path(place).is_relative_to(no_home) for place in places.values())
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    assert set(library_caches()) == set(LIBRARIES) - {"MPLCONFIGDIR"}
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert not library_caches()


def test_the_umask_decides_who_reads_a_dataset_that_is_made(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        folder = cached_folder("mine", lambda folder: (folder / "a").touch(), tmp_path / "cache")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "a")] == [0o775, 0o664]
