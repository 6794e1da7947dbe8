"""Addresses are asked, and given up in time. A server of this machine is the network."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from qtt.support import network


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
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("", None), ("401", None), ("405", None), ("407", "HTTP status 407"), ("503", "HTTP status 503")],
)
def test_an_answer_counts_whatever_it_says_unless_it_is_from_the_way(
    address: str, path: str, reason: str | None
) -> None:
    assert network.answer(f"{address}/{path}") == reason


def test_silence_and_lost_names_have_reasons(address: str) -> None:
    assert network.answer(f"{address}/wait", timeout=0.2) in ("no answer within 0.2 s", "timed out")
    assert network.answer("https://example.invalid") == "no such name: example.invalid"
    assert network.answer("no address at all") == "unknown url type: 'no address at all'"


def test_a_look_up_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    monkeypatch.setattr(network, "_ask", lambda url, timeout: str(forever.wait(30)))
    assert network.answer("https://example.invalid", timeout=0.05) == "no answer within 0.05 s"
    forever.set()
