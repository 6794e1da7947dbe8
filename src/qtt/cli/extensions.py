"""How Hydra comes to the options that other packages announce: a source of configuration beside `conf/`.

Hydra asks for an option when it is chosen, by whichever file or command line; nothing is imported before.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from qtt.cli.announced import extensions, option
from qtt.errors import QTTError


def offer_extensions() -> None:
    """Let Hydra find the options that installed packages announce, from now on.

    Raises:
        ConfigError: two packages announce different things under one name.
    """
    extensions()
    for plugin in (AnnouncedOptions, AnnouncedSearchPath):
        Plugins.instance().register(plugin)


class AnnouncedSearchPath(SearchPathPlugin):
    """Has Hydra look into `AnnouncedOptions`, after `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """See `SearchPathPlugin`."""
        search_path.append("installed packages", f"{AnnouncedOptions.scheme()}://")


class AnnouncedOptions(ConfigSource):
    """Options of installed packages, where Hydra looks for files elsewhere: paths are `<group>/<name>`."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self._names = {group: sorted(points) for group, points in extensions().items() if points}

    @staticmethod
    def scheme() -> str:
        """See `ConfigSource`."""
        return "qtt-announced"

    def available(self) -> bool:
        """See `ConfigSource`."""
        return True

    def is_group(self, config_path: str) -> bool:
        """See `ConfigSource`."""
        return config_path.strip("/") in ("", *self._names)

    def is_config(self, config_path: str) -> bool:
        """See `ConfigSource`."""
        group, name = _parts(config_path)
        return name in self._names.get(group, ())

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """See `ConfigSource`."""
        group = config_path.strip("/")
        if group:
            return [] if results_filter == ObjectType.GROUP else list(self._names.get(group, ()))
        return [] if results_filter == ObjectType.CONFIG else sorted(self._names)

    def load_config(self, config_path: str) -> ConfigResult:
        """See `ConfigSource`; an option that cannot be used fails the composition, with its reason."""
        group, name = _parts(config_path)
        if not self.is_config(config_path):
            raise ConfigLoadError(f"No installed package announces {config_path}.")
        try:
            node = option(group, name)
        except QTTError as error:
            raise ConfigCompositionException(str(error)) from error
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=OmegaConf.create(node),
            header={"package": None},
        )


def _parts(config_path: str) -> tuple[str, str]:
    group, _, name = config_path.strip("/").removesuffix(".yaml").rpartition("/")
    return group, name
