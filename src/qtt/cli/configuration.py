"""The configuration of commands: where `conf/` lies, what overrides make of it, and what is wrong."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from qtt.cli.arguments import FOLDER_FLAGS, CommandLine, understood
from qtt.cli.extensions import offer_extensions
from qtt.cli.hints import explanation
from qtt.cli.invocation import command_for, remember_arguments
from qtt.cli.jobs import misused
from qtt.cli.messages import errors_for_people, fail, stop_as_by_ctrl_c
from qtt.cli.values import settled
from qtt.errors import QTTError


def config_directory() -> str:
    """Absolute path of `conf/`: beside the package when installed, at the top of a checkout otherwise."""
    packaged = Path(__file__).parents[1] / "conf"
    return str(packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf")


def prepare(config_name: str) -> None:
    """What every command does before Hydra takes over: offer extensions, explain typos, heed job queues."""
    remember_arguments()
    OmegaConf.register_new_resolver("command", command_for, replace=True)
    with errors_for_people():
        sys.argv[1:] = understood(sys.argv[1:])
        offer_extensions()
    check_overrides(config_name, sys.argv[1:])
    stop_as_by_ctrl_c()


def composed(config_name: str, overrides: Sequence[str] = ()) -> tuple[DictConfig, dict[str, str]]:
    """A command's configuration and the option of each group, for those who ask outside of Hydra's own run.

    Raises:
        ConfigError: two packages announce different things under one name, or values are not of their kind.
    """
    offer_extensions()
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose(config_name, overrides=list(overrides), return_hydra_config=True)
    choices = {group: str(option) for group, option in config.hydra.runtime.choices.items()}
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return settled(config_name, own), choices


def shipped_options() -> dict[str, tuple[str, ...]]:
    """Options that `conf/` itself has, by group; those of Hydra's own groups are left out."""
    folders = sorted(Path(config_directory()).iterdir())
    groups = [folder for folder in folders if folder.is_dir() and folder.name != "hydra"]
    return {group.name: tuple(sorted(file.stem for file in group.glob("*.yaml"))) for group in groups}


def check_overrides(config_name: str, arguments: Sequence[str]) -> None:
    """Compose the configuration once ahead of Hydra, to explain a typo or a wrong value better than it would.

    Exits with status 1 and a message that says what was expected. Calls for help are left to Hydra, and so is
    what cannot be read as overrides.
    """
    line = CommandLine.read(arguments)
    if line is None:
        return
    if line.folder is not None and not line.folder.is_dir():
        fail(f"There is no folder {line.folder}; correct {FOLDER_FLAGS[0]}.")
    if (reason := misused(line.overrides, line.multirun)) is not None:
        fail(reason)
    with initialize_config_dir(config_directory(), version_base="1.3"):
        for overrides in line.runs():
            try:
                settled(config_name, compose(config_name, overrides=[*line.search_path, *overrides]))
            except QTTError as error:
                fail(str(error))
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                fail(explanation(config_name, line, overrides, error))


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
