"""The cluster of a search as the command line names it."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from qtt.cli.configuration import config_directory
from qtt.cli.values import settled
from qtt.errors import ConfigError
from qtt.evaluation.cluster import Cluster
from qtt.run import cluster_of


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        return settled("run", compose("run", [*overrides]))


def test_workers_are_here_unless_a_cluster_is_named() -> None:
    assert cluster_of(composed()) is None
    assert cluster_of(composed("executor=inline")) is None
    assert cluster_of(composed("executor=ray")) == Cluster()


def test_every_value_of_a_cluster_has_a_name() -> None:
    config = composed(
        "executor=ray",
        "executor.address=head:6379",
        "executor.workers=16",
        "executor.resources.cpu=4",
        "executor.resources.gpu=0.5",
        "executor.shared=false",
    )
    assert cluster_of(config) == Cluster("head:6379", cpu=4, gpu=0.5, shared=False)
    assert config.executor.workers == 16


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("executor.resources.gpu=many", "executor.resources.gpu=many: expected"),
        ("executor.shared=perhaps", "executor.shared=perhaps: expected"),
        ("executor.workers=0", "executor.workers=0: expected"),
        ("executor.resources=4", "executor.resources has keys of its own"),
    ],
)
def test_impossible_values_are_refused_when_they_are_composed(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        composed("executor=ray", override)
    with pytest.raises(ConfigError, match="a share of one GPU, or whole ones"):
        cluster_of(composed("executor=ray", "executor.resources.gpu=1.5"))
