"""What is wrong with a cluster, or with what is asked of it, is said before anything begins."""

import socket
import sys
from typing import Any

import pytest

from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation.cluster.connection import Connection, load_ray
from qtt.evaluation.cluster.settings import Cluster


def numeric(host: str, port: int, *_: object, **__: object) -> list[object]:
    """Look up nothing but addresses in digits."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'qtt[ray]')")
    monkeypatch.setattr(socket, "getaddrinfo", numeric)
    with pytest.raises(EnvironmentFault, match=r"at 127\.0\.0\.1:1 cannot be reached: .*refused"):
        Connection(Cluster("127.0.0.1:1"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    with pytest.raises(EnvironmentFault, match=r"at 127\.0\.0\.1:2 cannot be reached"):
        Connection(Cluster())
    with pytest.raises(ConfigError, match=r"HOST:PORT .* got 'ray://head:10001'"):
        Connection(Cluster("ray://head:10001"))


def test_without_ray_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'qtt\[ray\]'"):
        load_ray()


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ({"cpu": -1.0}, "no less than nothing"),
        ({"gpu": 1.5}, "a share of one GPU, or whole ones"),
        ({"cpu": 0.0, "gpu": 0.0}, "room without end"),
    ],
)
def test_impossible_shares_are_refused(share: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cluster(**share)


def test_auto_finds_no_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the file that Ray leaves of a cluster whose machine was switched off."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'qtt[ray]')")
    monkeypatch.setattr(socket, "getaddrinfo", numeric)
    named: list[str] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: named.append(address))
    services = ray._private.services
    monkeypatch.setattr(services, "get_ray_address_from_environment", lambda *_: "127.0.0.1:1")
    Connection(Cluster())
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        running = f"127.0.0.1:{head.getsockname()[1]}"
        monkeypatch.setattr(services, "get_ray_address_from_environment", lambda *_: running)
        Connection(Cluster())
    assert named == ["local", running]
