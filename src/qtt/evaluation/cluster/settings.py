"""Which cluster, and what of it each worker takes."""

from dataclasses import dataclass

from qtt.errors import ConfigError

AUTO, LOCAL = "auto", "local"
"""Addresses: the cluster that runs on this machine, or that `RAY_ADDRESS` names, else one of this machine
alone; and the latter in any case."""


@dataclass(frozen=True)
class Cluster:
    """Where the workers of a search run, if not on its own machine.

    address: `auto`, `local`, or `host:port` of a cluster's head.
    shared: all machines see the run folder at the same path; else checkpoints travel through Ray.
    cpu: cores of a worker. gpu: GPUs, 0.5 for two workers on one; None: one where the cluster has any.

    Raises:
        ConfigError: a worker that takes nothing, or less than that.
    """

    address: str = AUTO
    cpu: float = 1.0
    gpu: float | None = None
    shared: bool = True

    def __post_init__(self) -> None:
        if self.cpu < 0 or (self.gpu or 0) < 0:
            raise ConfigError(f"A worker takes no less than nothing; got cpu={self.cpu:g}, gpu={self.gpu}.")
        if self.gpu is not None and self.gpu > 1 and self.gpu != int(self.gpu):
            raise ConfigError(f"A worker takes a share of one GPU, or whole ones; got gpu={self.gpu:g}.")
        if not self.cpu and self.gpu == 0:
            raise ConfigError("A worker that takes neither cores nor GPUs would find room without end.")
