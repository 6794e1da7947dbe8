"""Folders and addresses: written to, asked, given up in time. A server of this machine is the network."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from qtt.diagnosis import places


class _Server(BaseHTTPRequestHandler):
    """Answers /401 with 401 and so on; /wait keeps silent until the test ends."""

    release = threading.Event()

    def do_HEAD(self) -> None:
        if self.path == "/wait":
            self.release.wait(30)
        self.send_response(int(self.path.strip("/")) if self.path[1:].isdigit() else 200)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Server)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    _Server.release.set()
    server.shutdown()
    serving.join()
    server.server_close()


def _look_up(host: str, port: int, *others: object) -> list[tuple[object, ...]]:
    """The address of this machine alone."""
    if host != "127.0.0.1":
        raise OSError(f"no such name: {host}")
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _look_up)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in (*places.INDEX_VARIABLES, "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("", None), ("401", None), ("405", None), ("407", "HTTP status 407"), ("503", "HTTP status 503")],
)
def test_an_answer_counts_whatever_it_says_unless_it_is_from_the_way(
    address: str, path: str, reason: str | None
) -> None:
    assert places.answer(f"{address}/{path}") == reason


def test_silence_and_lost_names_have_reasons(address: str) -> None:
    assert places.answer(f"{address}/wait", timeout=0.2) in ("no answer within 0.2 s", "timed out")
    assert places.answer("https://example.invalid") == "no such name: example.invalid"
    assert places.answer("no address at all") == "unknown url type: 'no address at all'"


def test_a_look_up_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    monkeypatch.setattr(places, "_ask", lambda url, timeout: str(forever.wait(30)))
    assert places.answer("https://example.invalid", timeout=0.05) == "no answer within 0.05 s"
    forever.set()


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
