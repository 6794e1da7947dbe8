"""The connection of this process to a Ray cluster: quiet, with errors that say what to do."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation.cluster.settings import AUTO, LOCAL, Cluster
from qtt.support.machine import available_cores

logger = logging.getLogger("qtt")

KNOCK = 10.0
"""Seconds in which the head of a cluster must let itself be called."""


def load_ray() -> Any:
    """The library.

    Raises:
        ConfigError: it is not installed.
    """
    with _own_signal_handlers():
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                f"Workers on a cluster need Ray ({error}). Install it with: pip install 'qtt[ray]'"
            ) from error
    return ray


class Connection:
    """Holds on to a cluster; one to which this process was connected before is used as it is, and kept.

    ray: the library, connected.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Connect.

        Raises:
            ConfigError: Ray is not installed.
            EnvironmentFault: there is no such cluster, or it does not let us in.
        """
        self.ray = load_ray()
        self._own = not self.ray.is_initialized()
        if self._own:
            with _own_signal_handlers():
                _connect(self.ray, cluster.address)

    def close(self) -> None:
        """Let go of the cluster, and end one that was started for this process."""
        if self._own:
            with _own_signal_handlers():
                self.ray.shutdown()

    def needs(self, cluster: Cluster, on_cpu: bool) -> dict[str, float]:
        """What a worker takes, by Ray's names.

        on_cpu: whether training is known to be on a CPU.

        Raises:
            ConfigError: no machine of the cluster has as much, however idle.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpu = cluster.gpu
        if gpu is None:
            gpu = float(not on_cpu and any(node.get("GPU") for node in nodes))
        needs = {"CPU": cluster.cpu, "GPU": gpu}
        if not any(_room(node, needs) for node in nodes):
            raise ConfigError(
                f"No machine of the cluster has {in_words(needs)} for a worker; they have "
                f"{'; '.join(sorted({in_words(node) for node in nodes}))}. Ask for less: "
                "executor.resources.cpu, executor.resources.gpu."
            )
        return needs

    def room(self, needs: Mapping[str, float]) -> int:
        """How many workers the cluster has room for, were it idle."""
        return sum(_room(node["Resources"], needs) for node in self.ray.nodes() if node["Alive"])


def in_words(resources: Mapping[str, float]) -> str:
    """Cores and GPUs for people."""
    cores, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    return f"{cores:g} CPU{'s' * (cores != 1)}" + (f" and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else "")


def _room(node: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """How many workers fit into a machine; of workers with a share of a GPU, none is split over two."""
    fitting = [int(node.get(name, 0.0) / amount + 1e-6) for name, amount in needs.items() if amount]
    if 0 < needs["GPU"] < 1:
        fitting.append(int(node.get("GPU", 0.0)) * int(1 / needs["GPU"] + 1e-6))
    return min(fitting)


def _connect(ray: Any, given: str) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray._private.worker.print_to_stdstream = _log  # Ray has no switch that keeps it off the console
    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS", given) if given == AUTO else given
    try:
        if address == AUTO:
            address = _found(ray) or LOCAL
        if address == LOCAL:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(address=LOCAL, num_cpus=available_cores(), include_dashboard=False, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EnvironmentFault(
            f"The cluster at {address} cannot be reached: {reason.rstrip('.')}. Is its head running "
            "(ray start --head), and does this machine have its token (RAY_AUTH_TOKEN_PATH)? "
            "executor.address=local starts one here."
        ) from error


def _found(ray: Any) -> str | None:
    """The address of the cluster that runs on this machine; None where none answers."""
    try:
        address: str = ray._private.services.get_ray_address_from_environment(AUTO, None)
        _knock(address)
    except OSError:
        return None
    return address


def _knock(address: str) -> None:
    """See whether anybody listens there, for Ray would wait for minutes.

    Raises:
        ConfigError: it is no address of a cluster's head.
        OSError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigError(
            f"The address of a cluster is auto, local, or its head's HOST:PORT (ray start prints it); got "
            f"'{address}'."
        )
    socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()


def _log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    """What Ray would print of other machines."""
    for line in data["lines"]:
        logger.info("Ray: %s", line)


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep the handlers of this process, in whose place Ray sets its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:
                signal.signal(number, handler)
