"""What is wrong with overrides that cannot be composed, and what was probably meant."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from qtt.cli import jobs
from qtt.cli.arguments import CommandLine
from qtt.errors import unknown


def explanation(config_name: str, line: CommandLine, overrides: Sequence[str], error: Exception) -> str:
    """Why these overrides cannot be composed, in words of this configuration; within `initialize_config_dir`.

    Args:
        config_name: of the command.
        line: its command line.
        overrides: those of one run.
        error: what composing them raised.
    """
    loader = GlobalHydra.instance().config_loader()
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if group == jobs.GROUP and (needed := jobs.missing(option)) is not None:
            return needed
        if group:
            return unknown(group, option, error.options or loader.get_group_options(group))
    groups = loader.get_group_options("", ObjectType.GROUP)
    keys = {override: override.partition("=")[0] for override in overrides}
    chosen = [override for override, key in keys.items() if key.lstrip("+~") in groups]
    try:
        config = _composed(config_name, line, chosen)
    except (HydraException, OmegaConfBaseException, ValueError):
        config = _composed(config_name, line, [])
    options = dict(config.hydra.runtime.choices)
    for override, key in keys.items():
        if key in groups and key not in options:
            return f"{override}: {key} is no part of a search until it is added, with a plus: +{override}"
    known = [key for key in _keys(config) if not key.startswith("hydra") and "._" not in key]
    for key in keys.values():
        for group in groups:
            if key in loader.get_group_options(group):
                plus = "" if group in options else "+"
                return f"{key} is an option of {group}: {plus}{group}={key}"
    typos = [key for key in keys.values() if key not in (*known, *groups) and not key.startswith(("+", "~"))]
    if isinstance(error, OverrideParseException):
        said = str(error).partition("\nSee ")[0]
        return f"{error.override}: cannot be read. {said}"
    if not typos or "override" not in str(error):
        return str(error).partition("\nConfig search path:")[0].rstrip()  # where Hydra looked is no news
    return "\n".join(_no_such_key(config_name, line, key, [*known, *groups], options) for key in typos)


def _no_such_key(
    config_name: str, line: CommandLine, key: str, known: Sequence[str], options: dict[str, str]
) -> str:
    """What was probably meant by a key that does not exist."""
    group, _, rest = key.partition(".")
    if rest and group in options:
        having = _options_with(config_name, line, group, key)
        if having:
            other = " and ".join(f"{group}={option}" for option in having)
            return f"{key} is a key of {other}; this is {group}={options[group]}. Add {group}={having[0]}."
    within = [name for name in known if name.endswith(f".{key}")]
    elsewhere = [name for name in known if name.endswith(f".{key.rpartition('.')[2]}")]
    close = within or get_close_matches(key, known, n=3, cutoff=0.75) or elsewhere
    meant = f"Did you mean {' or '.join(close)}?" if close else "--help shows all; +KEY=VALUE adds one."
    return f"There is no key {key}. {meant}"


def _options_with(config_name: str, line: CommandLine, group: str, key: str) -> list[str]:
    """Options of a group that have a key."""
    having = []
    for option in GlobalHydra.instance().config_loader().get_group_options(group):
        try:
            config = _composed(config_name, line, [f"{group}={option}"])
        except (HydraException, OmegaConfBaseException):
            continue
        if key in set(_keys(config)):
            having.append(option)
    return having


def _composed(config_name: str, line: CommandLine, overrides: Sequence[str]) -> DictConfig:
    return compose(config_name, overrides=[*line.search_path, *overrides], return_hydra_config=True)


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key!s}"
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key!s}.")
