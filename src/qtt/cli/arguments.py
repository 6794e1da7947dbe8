"""Arguments of a command as people type them, and as Hydra understands them.

Hydra reads values in a language of its own, where `~ # = , ( ) [ ]`, quotes and letters beyond ASCII mean
something or nothing at all. What is meant as a text is put into quotes here, and flags may stand anywhere.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from qtt.cli.kinds import home_expanded
from qtt.errors import ConfigError

FOLDER_FLAGS = ("--config-dir", "-cd")
"""Hydra's flags that name a further folder of configuration."""

SWEEP_FLAGS = ("--multirun", "-m")
PLAIN_FLAGS = (*SWEEP_FLAGS, "--run", "-r", "--resolve")
VALUED_FLAGS = ("--cfg", "-c", "--package", "-p")
"""Flags of Hydra that change nothing about what overrides mean; the latter are followed by a value."""

OTHER_VALUED_FLAGS = ("--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun")

FLAGS = (
    *(*FOLDER_FLAGS, *PLAIN_FLAGS, *VALUED_FLAGS, *OTHER_VALUED_FLAGS, "--help", "-h", "--hydra-help"),
    *("--version", "--info", "-i", "--shell-completion", "-sc"),
)
"""All flags of a command with a configuration."""

SWEEP = 50
"""Values of a sweep that are checked ahead; Hydra finds what is wrong with later ones."""

PATHS = frozenset({"path", "images", "out", "table", "weights", "hub", "folder", "root", "file"})
PATH_ENDINGS = ("_dir", "_path", "_file", "_folder")
"""Names of keys that hold paths, in qtt and elsewhere."""

PATH_LISTS = frozenset({"datasets", "tables"})


def understood(arguments: Sequence[str]) -> list[str]:
    """Arguments as Hydra reads them: flags first, texts in quotes.

    Raises:
        ConfigError: a flag that there is not.
    """
    flags, overrides = _apart(arguments)
    for flag, *_ in flags:
        name = flag.partition("=")[0]
        if name not in FLAGS:
            plain = flag.lstrip("-")
            meant = f"; a value is given without dashes: {plain}" if "=" in plain else ""
            raise ConfigError(f"There is no flag {name}{meant}. --help shows all.")
    sweep = any(flag in SWEEP_FLAGS for flag, *_ in flags)
    words = [word for flag in flags for word in flag]
    return [*words, *(_quoted(override, sweep) for override in overrides)]


def _apart(arguments: Sequence[str]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Flags, each with the value that follows it if there is one, and overrides."""
    rest, overrides = list(arguments), []
    flags: list[tuple[str, ...]] = []
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        takes_value = word in (*FOLDER_FLAGS, *VALUED_FLAGS, *OTHER_VALUED_FLAGS)
        may_take_value = word in ("--info", "-i") and rest and "=" not in rest[0]
        follows = rest and (takes_value or may_take_value)
        flags.append((word, rest.pop(0)) if follows else (word,))
    return flags, overrides


def _quoted(override: str, sweep: bool) -> str:
    """An override whose value stands in quotes if it is a text that Hydra would not take for one."""
    key, equals, value = override.partition("=")
    if not equals or not value:
        return override
    name = key.rpartition(".")[2].lstrip("+~")
    parsed = _parsed(override)
    if name in PATHS or name.endswith(PATH_ENDINGS):
        return f"{key}={_path(value, parsed, sweep)}"
    several = sweep and parsed is not None and parsed.is_sweep_override()
    if name in PATH_LISTS and not several and value[0] + value[-1] == "[]" and "{" not in value:
        return f"{key}=[{_paths(value[1:-1])}]"
    structured = value[0] in "[{$" or (sweep and "," in value)
    return override if parsed is not None or structured else f"{key}={_text(value)}"


def _path(value: str, parsed: Override | None, sweep: bool) -> str:
    """The value of a path-valued override; what exists as it is typed is meant as it is typed."""
    if os.path.exists(value):  # noqa: PTH110 - Path.exists raises where a name is too long
        return _text(value)
    if parsed is None:
        return _paths(value) if sweep else _one_path(value)
    if parsed.is_sweep_override():
        return value if sweep else _one_path(value)
    return _text(value) if isinstance(parsed.value(), int | float) else value


def _paths(values: str) -> str:
    return ",".join(_one_path(value) for value in _items(values))


def _one_path(value: str) -> str:
    """A path as a text of Hydra's, unless it is quoted or refers to another value."""
    value = value.strip()
    quoted = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    return value if quoted or "${" in value else _text(home_expanded(value))


def _text(value: str) -> str:
    """A text as Hydra reads it back, in quotes if it needs them."""
    parsed = _parsed(f"text={value}")
    same = parsed is not None and not parsed.is_sweep_override() and parsed.value() == value
    return value if same else str(QuotedString(value, Quote.single).with_quotes())


def _items(value: str) -> list[str]:
    """What commas separate, but for those within quotes."""
    items, quote = [""], ""
    for letter in value:
        if letter == "," and not quote:
            items.append("")
            continue
        items[-1] += letter
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and not items[-1][:-1].strip():
            quote = letter
    return items


def _parsed(override: str) -> Override | None:
    """An override as Hydra reads it; None where it cannot."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


@dataclass(frozen=True)
class CommandLine:
    """Arguments of a command as far as they say what its configuration is.

    overrides: as Hydra reads them; sweeps among them only with `multirun`. folder: what `--config-dir` names.
    """

    overrides: tuple[str, ...]
    folder: Path | None = None
    multirun: bool = False

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Self | None:
        """Read arguments; None where they ask for something else than a run of these overrides."""
        flags, overrides = _apart(arguments)
        folder, multirun = None, False
        for flag, *following in flags:
            name, _, value = flag.partition("=")
            value = following[0] if following else value
            if name in FOLDER_FLAGS and value:
                folder = Path(value).absolute()
            elif flag in PLAIN_FLAGS:
                multirun |= flag in SWEEP_FLAGS
            elif not (name in VALUED_FLAGS and value):
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
