"""The configuration of commands: where `conf/` lies, what overrides make of it, and what is wrong."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from qtt.cli.extensions import offer_extensions
from qtt.cli.invocation import command_for
from qtt.cli.messages import errors_for_people, fail, stop_as_by_ctrl_c
from qtt.errors import QTTError

FOLDER_FLAGS = ("--config-dir", "-cd")
"""Hydra's flags that name a further folder of configuration."""

PLAIN_FLAGS = ("--multirun", "-m", "--run", "-r", "--resolve")
VALUED_FLAGS = ("--cfg", "-c", "--package", "-p")
"""Flags of Hydra that change nothing about what overrides mean; the latter are followed by a value."""

SWEEP = 50
"""Values of a sweep that are checked ahead; Hydra finds what is wrong with later ones."""


def config_directory() -> str:
    """Absolute path of `conf/`: beside the package when installed, at the top of a checkout otherwise."""
    packaged = Path(__file__).parents[1] / "conf"
    return str(packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf")


def prepare(config_name: str) -> None:
    """What every command does before Hydra takes over: offer extensions, explain typos, heed job queues."""
    OmegaConf.register_new_resolver("command", command_for, replace=True)
    with errors_for_people():
        offer_extensions()
    check_overrides(config_name, sys.argv[1:])
    stop_as_by_ctrl_c()


def composed(config_name: str, overrides: Sequence[str] = ()) -> tuple[DictConfig, dict[str, str]]:
    """A command's configuration and the option of each group, for those who ask outside of Hydra's own run.

    Raises:
        ConfigError: two packages announce different things under one name.
    """
    offer_extensions()
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose(config_name, overrides=list(overrides), return_hydra_config=True)
    choices = {group: str(option) for group, option in config.hydra.runtime.choices.items()}
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), choices


def shipped_options() -> dict[str, tuple[str, ...]]:
    """Options that `conf/` itself has, by group."""
    groups = [folder for folder in sorted(Path(config_directory()).iterdir()) if folder.is_dir()]
    return {group.name: tuple(sorted(file.stem for file in group.glob("*.yaml"))) for group in groups}


def check_overrides(config_name: str, arguments: Sequence[str]) -> None:
    """Compose the configuration once ahead of Hydra, to explain a typo better than it would.

    Exits with status 1 and a message that names close matches. Calls for help are left to Hydra, and so is
    what cannot be read as overrides.
    """
    line = CommandLine.read(arguments)
    if line is None:
        return
    if line.folder is not None and not line.folder.is_dir():
        fail(f"There is no folder {line.folder}; correct {FOLDER_FLAGS[0]}.")
    with initialize_config_dir(config_directory(), version_base="1.3"):
        for overrides in line.runs():
            try:
                compose(config_name, overrides=[*line.search_path, *overrides])
            except (HydraException, OmegaConfBaseException, QTTError) as error:
                # where Hydra looked is no news
                said = str(error).partition("\nConfig search path:")[0].rstrip()
                fail(f"{said}{_suggestion(config_name, line, overrides, error)}")


@dataclass(frozen=True)
class CommandLine:
    """Arguments of a command as far as they say what its configuration is.

    overrides: as typed; sweeps among them only with `multirun`. folder: what `--config-dir` names.
    """

    overrides: tuple[str, ...]
    folder: Path | None = None
    multirun: bool = False

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Self | None:
        """Read arguments; None where they ask for something else than a run of these overrides."""
        rest, overrides, folder, multirun = list(arguments), [], None, False
        while rest:
            word = rest.pop(0)
            flag, equals, value = word.partition("=")
            if not word.startswith("-"):
                overrides.append(word)
            elif flag in FOLDER_FLAGS and (equals or rest):
                folder = Path(value if equals else rest.pop(0)).absolute()
            elif flag in VALUED_FLAGS and (equals or rest):
                del rest[: 0 if equals else 1]
            elif word in PLAIN_FLAGS:
                multirun |= word in PLAIN_FLAGS[:2]
            else:
                return None
        return cls(tuple(overrides), folder, multirun)

    @property
    def search_path(self) -> list[str]:
        """The folder as an override, which is what composing without a command line takes."""
        if self.folder is None:
            return []
        quoted = f"file://{self.folder}".replace("\\", "\\\\").replace("'", "\\'")
        return [f"hydra.searchpath=['{quoted}']"]

    def runs(self) -> list[list[str]]:
        """Overrides of as many runs as it takes to see every value of every sweep once; without a sweep, one.

        None at all where the overrides are no such language, or a sweep's values are not known in advance.
        """
        if not self.multirun:
            return [list(self.overrides)]
        try:
            parsed = OverridesParser.create().parse_overrides(list(self.overrides))
            choices = [_values(override) for override in parsed]
        except (HydraException, NotImplementedError):
            return []
        longest = min(SWEEP, max((len(values) for values in choices), default=1))
        return [[values[min(i, len(values) - 1)] for values in choices] for i in range(longest)]


def _values(override: Override) -> list[str]:
    """An override once for each of its values.

    Raises:
        NotImplementedError: a sweep over files or an interval.
    """
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not (override.is_choice_sweep() or override.is_range_sweep()):
        raise NotImplementedError(override.input_line)
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


@contextmanager
def configured_errors_for_people() -> Iterator[None]:
    """As `errors_for_people`, and a value that is missing in the configuration is asked for."""
    with errors_for_people():
        try:
            yield
        except MissingMandatoryValue as error:
            key = error.full_key or "?"
            fail(f"{key} has no value and needs one: add {key}=… to the command.")
        except InstantiationException as error:
            if isinstance(error.__cause__, QTTError):
                raise error.__cause__ from error
            raise


def plain(node: Any) -> Any:
    """A config node as plain Python containers, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key!s}"
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key!s}.")


def _suggestion(config_name: str, line: CommandLine, overrides: Sequence[str], error: Exception) -> str:
    """Close matches of an option that a group does not have, or of keys that do not exist; may be empty."""
    loader = GlobalHydra.instance().config_loader()
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return _close(option, error.options or loader.get_group_options(group))
    groups = loader.get_group_options("", ObjectType.GROUP)
    keys = {override: override.lstrip("+~").partition("=")[0] for override in overrides}
    chosen = [override for override, key in keys.items() if key in groups]
    try:
        config = compose(config_name, overrides=[*line.search_path, *chosen])
    except (HydraException, OmegaConfBaseException, QTTError):
        config = compose(config_name)
    known = list(dict.fromkeys([*_keys(config), *groups]))
    return "".join(_close(key, known) for key in keys.values() if key not in known)


def _close(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=3, cutoff=0.6)
    return f"\n{word}: did you mean {' or '.join(close)}?" if close else ""
