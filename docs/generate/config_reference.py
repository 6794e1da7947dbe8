"""The page of every configuration group, made from the files in `conf/` and their comments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

COMMANDS = ("run", "collect", "metatrain", "benchmark")
"""Configurations at the top of `conf/`, one for each Hydra command."""

HIDDEN = ("hydra", "defaults")
MADE_FROM = "_target_"
CODE = re.compile(
    r"`[^`]*`|(?<![\w`'])'?[\w.+~]+=(?:\[[^\]]*\]|\{[^}]*\}|[^\s;,:()'])+'?|\$\w+(?:/\w+)?|--[\w-]+"
)
"""What is code in a comment: what says so, overrides, variables of the environment, flags."""


@dataclass(frozen=True)
class Value:
    """One value as a user overrides it: its full key, what it is by default, and its comment."""

    key: str
    default: str
    comment: str


class ConfigFile:
    """A file of `conf/`, with the comments that YAML readers drop."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._text = path.read_text(encoding="utf-8")
        self._lines = self._text.splitlines()
        self._root = yaml.compose(self._text)

    @cached_property
    def header(self) -> list[str]:
        """The comment at the top, without the package."""
        lines = []
        for line in self._lines:
            if not line.startswith("#"):
                break
            lines.append(line[1:].removeprefix(" "))
        return [line for line in lines if not line.startswith("@package")]

    @property
    def package(self) -> str | None:
        """Where its values go, where the file says so."""
        found = re.match(r"# @package (\S+)", self._text)
        return found[1] if found else None

    @property
    def made_from(self) -> str | None:
        """The class or function that is built from it."""
        return self._data.get(MADE_FROM)

    @cached_property
    def _data(self) -> dict[str, object]:
        return yaml.safe_load(self._text) or {}

    def bases(self) -> Iterator[tuple[str, str]]:
        """Its defaults list: options with the comment on what they are there for."""
        for item in self._defaults():
            start, end = item.start_mark, item.end_mark
            text = self._text[start.index : end.index].strip().splitlines()[0]
            yield text.split("#")[0].strip(), self._comment(start.line)

    def values(self, prefix: str) -> Iterator[Value]:
        """All values of the file itself, under full keys."""
        if isinstance(self._root, yaml.MappingNode):
            yield from self._values(self._root, prefix)

    def _values(self, node: yaml.MappingNode, prefix: str) -> Iterator[Value]:
        for name, value in node.value:
            if (
                name.value.startswith("_")
                or (not prefix and name.value in HIDDEN)
                or name.value == "defaults"
            ):
                continue
            key = f"{prefix}{name.value}"
            if isinstance(value, yaml.MappingNode) and not value.flow_style:
                yield from self._values(value, f"{key}.")
            else:
                yield self._value(key, name, value)

    def _value(self, key: str, name: yaml.Node, value: yaml.Node) -> Value:
        """One value as it is written; a list over several lines in one, with the comment behind its name."""
        if isinstance(value, yaml.SequenceNode) and not value.flow_style:
            items = [self._text[item.start_mark.index : item.end_mark.index] for item in value.value]
            comment = self._comment(name.end_mark.line, name.end_mark.column)
            return Value(key, f"[{', '.join(item.strip() for item in items)}]", comment)
        shown = self._text[value.start_mark.index : value.end_mark.index].strip()
        return Value(key, shown, self._comment(value.end_mark.line, value.end_mark.column))

    def _defaults(self) -> list[yaml.Node]:
        if not isinstance(self._root, yaml.MappingNode):
            return []
        found = [value for name, value in self._root.value if name.value == "defaults"]
        return list(found[0].value) if found else []

    def _comment(self, line: int, column: int = 0) -> str:
        """The comment behind a place in a line."""
        found = (
            re.search(r"(?:^|\s)#\s?(.*)", self._lines[line][column:]) if line < len(self._lines) else None
        )
        return found[1].strip() if found else ""


class Configuration:
    """The folder `conf/` as its users see it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in the order in which the commands name them."""
        named = [group for command in COMMANDS for group in self._purposes(command)]
        folders = [path.name for path in self._folder.iterdir() if path.is_dir()]
        present = sorted(name for name in folders if name not in HIDDEN)
        return [group for group in dict.fromkeys([*named, *present]) if group in present]

    def options(self, group: str) -> list[ConfigFile]:
        """The options of a group."""
        return [ConfigFile(path) for path in sorted((self._folder / group).glob("*.yaml"))]

    def command(self, name: str) -> ConfigFile:
        """The configuration of a command."""
        return ConfigFile(self._folder / f"{name}.yaml")

    def purpose(self, group: str) -> str:
        """What the first command that has the group says of it."""
        found = [self._purposes(command).get(group) for command in COMMANDS]
        return next((comment for comment in found if comment), "")

    def default(self, group: str) -> dict[str, str]:
        """The option that each command takes by default."""
        chosen = {}
        for command in COMMANDS:
            for text, _ in self.command(command).bases():
                name, _, option = text.partition(": ")
                if name == group:
                    chosen[command] = option
        return chosen

    def prefix(self, group: str) -> str:
        """What full keys of the group begin with: its package, the group that takes it in, or its name."""
        packages = [option.package for option in self.options(group) if option.package]
        if packages:
            return "" if packages[0] == "_global_" else f"{packages[0]}."
        for other in self.groups:
            for option in self.options(other):
                if any(text.startswith(f"/{group}@_here_") for text, _ in option.bases()):
                    return f"{other}."
        return f"{group}."

    def _purposes(self, command: str) -> dict[str, str]:
        pairs = ((text.partition(": ")[0], comment) for text, comment in self.command(command).bases())
        return {group: comment for group, comment in pairs if (self._folder / group).is_dir()}


def page(folder: Path) -> str:
    """The Markdown page of a folder of configurations."""
    conf = Configuration(folder)
    parts = [INTRODUCTION]
    for name in COMMANDS:
        command = conf.command(name)
        parts += [f"## `python -m qtt.{name}`", _about(command), _table(command.values(""))]
    for group in conf.groups:
        parts += _group(conf, group)
    return "\n\n".join(part for part in parts if part) + "\n"


INTRODUCTION = """# Configuration

Every value of a command can be overridden by its full key, `budget.seconds=240` for instance, and every group
by one of its options, `optimizer=random`. `--help` shows the values that the overrides of a command lead to.
This page is made from the files in `conf/`: what is written here is what they say.

First the values of the commands themselves, then the groups that they are composed from."""


def _group(conf: Configuration, group: str) -> Iterator[str]:
    yield f"## Group `{group}`"
    purpose, default = conf.purpose(group), conf.default(group)
    chosen = ", ".join(f"`{option}` in `qtt.{command}`" for command, option in default.items())
    yield " ".join(
        [
            f"{prose(purpose[0].upper() + purpose[1:])}." if purpose else "",
            f"Default: {chosen}." if chosen else "",
        ]
    ).strip()
    for option in conf.options(group):
        plus = "+" if not default and group == "experiment" else ""
        yield f"### `{plus}{group}={option.name}`" if group != "predictor" else f"### `{group}/{option.name}`"
        yield _about(option)
        bases = [text for text, _ in option.bases() if text not in ("_self_",)]
        inherited = [f"`{base}`" for base in bases if not base.startswith(("/", "override "))]
        if inherited:
            yield f"As {' and '.join(inherited)}."
        overridden = [
            base.removeprefix("override /").replace(": ", "=") for base in bases if "override /" in base
        ]
        if overridden:
            yield f"Chooses {', '.join(f'`{choice}`' for choice in overridden)}."
        if option.made_from:
            yield f"Makes `{option.made_from}`."
        yield _table(option.values(conf.prefix(group)))


def _about(file: ConfigFile) -> str:
    """The comment at the top of a file: prose, commands, and lines that begin with a word and a colon."""
    parts: list[str] = []
    for line in file.header:
        if re.match(r" {2,3}\S", line):
            parts.append(f"\n```text\n{line.strip()}\n```\n")
        elif found := re.match(r"(\w+):\s{2,}(.*)", line):
            said = f"`{found[2]}`" if found[2].startswith("python") else prose(found[2])
            parts.append(f"\n- **{found[1]}**: {said}")
        elif not line.strip():
            parts.append("\n")
        else:
            parts.append(f"  {prose(line.strip())}" if line.startswith(" ") else prose(line))
    text = re.sub(r"```\n+```text\n", "", "\n".join(parts))  # commands that follow each other are one block
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _table(values: Iterator[Value]) -> str:
    rows = [f"| `{v.key}` | {_code(v.default)} | {prose(v.comment)} |" for v in values]
    if not rows:
        return ""
    return "\n".join(
        ['<div class="stacked" markdown>\n', "| value | default | |", "|---|---|---|", *rows, "\n</div>"]
    )


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def prose(comment: str) -> str:
    """A comment as Markdown: what is code is set as code, and nothing else means anything to Markdown."""
    parts, end = [], 0
    for found in CODE.finditer(comment):
        parts += [_escaped(comment[end : found.start()]), f"`{found[0].strip('`')}`"]
        end = found.end()
    return "".join([*parts, _escaped(comment[end:])])


def _escaped(text: str) -> str:
    text = text.replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\*_\[\]|{}])", r"\\\1", text)
