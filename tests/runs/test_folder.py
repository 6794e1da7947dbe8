"""The folder of a search: where it cannot be, and whose messages it keeps."""

import errno
import logging
import os
import threading
from pathlib import Path

import pytest

from qtt.errors import ConfigError
from qtt.runs.folder import RunFolder

logger = logging.getLogger("qtt")


def test_a_place_that_cannot_be_written_to_is_named_with_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/run \(Not a directory\).*runs_dir=DIR.*path=DIR"):
        RunFolder(tmp_path / "file" / "run").__enter__()


def test_a_search_that_can_only_be_read_is_to_be_copied(
    kept_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(kept_run)

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(kept_run / ".lock"))

    monkeypatch.setattr(folder._lock, "acquire", refuse)
    with pytest.raises(ConfigError, match=r"Read-only file system\)\. Copy the folder"):
        folder.__enter__()


def test_searches_in_several_threads_keep_their_messages_apart(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def search(name: str) -> None:
        with RunFolder(tmp_path / name):
            both.wait()
            logger.info("%s in its thread", name)
            helper = threading.Thread(target=logger.info, args=("%s in a helper", name))
            helper.start()
            helper.join()
            both.wait()

    threads = [threading.Thread(target=search, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, other in (("first", "second"), ("second", "first")):
        text = (tmp_path / name / "search.log").read_text()
        assert f"{name} in its thread" in text
        assert f"{name} in a helper" in text
        assert f"{other} in its thread" not in text


def test_a_search_within_a_search_leaves_the_outer_one_its_messages(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "outer"):
        with RunFolder(tmp_path / "inner"):
            logger.info("deep")
        logger.info("back")
    assert "back" in (tmp_path / "outer" / "search.log").read_text()
    assert "deep" not in (tmp_path / "outer" / "search.log").read_text()
    logger.info("after")  # with no folder in use


def test_all_files_of_a_search_have_the_permissions_of_the_umask(kept_run: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    modes = {path: path.stat().st_mode & 0o777 for path in kept_run.rglob("*")}
    assert (kept_run / "incumbent" / "weights.safetensors") in modes
    other = {path for path, mode in modes.items() if mode != (0o777 if path.is_dir() else 0o666) & ~umask}
    assert not other
