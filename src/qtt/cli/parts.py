"""Parts of a search that several commands build from their configuration."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager


def space_over(hub: ModelHub | None, config: DictConfig) -> ConfigManager:
    """The search space that `config` names, over the models of the hub; `model_hub=none` has none.

    Raises:
        ConfigError: there is no such space, or it does not go with the hub.
    """
    return ConfigManager(instantiate(config.search_space, models=[] if hub is None else list(hub.names)), hub)
