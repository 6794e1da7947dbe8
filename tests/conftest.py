"""What all tests share: no network, the shared data where it is, a clean cache folder."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "qtt", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("qtt")
"""No example fails for the seconds it takes, which depend on how busy the machine is."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell that runs the tests in the background has them ignore Ctrl-C, and all that they start with them."""

SHARED = Path(os.environ.get("QTT_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Make every connection to another machine fail, so that no test depends on one."""
    original = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        local = self.family == getattr(socket, "AF_UNIX", None) or (
            isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1", "localhost")
        )
        if not local:
            raise OSError(f"tests use no network; refused a connection to {address!r}")
        original(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", _no_lookup)
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("WANDB_MODE", "offline")
    yield
    patch.undo()


def _no_lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
    raise OSError(f"tests use no network; refused to look up {host!r}")


@pytest.fixture(autouse=True, scope="session")
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests and the tests out of it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("QTT_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared data; the test is skipped where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}; set QTT_SHARED_DATA")
    return SHARED


@pytest.fixture(scope="session")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished search over images of three classes; tests that write there copy it."""
    from images import write_image_folder
    from kept_runs import search

    folder = tmp_path_factory.mktemp("kept")
    dataset = write_image_folder(folder / "colours", {"train": 8, "val": 7, "test": 5}, side=70)
    return search(folder / "run", dataset)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for a few checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
