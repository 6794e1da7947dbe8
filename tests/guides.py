"""Code blocks of the guides, README and the pages of the documentation: found, understood, run as printed.

A comment before a block says what is special about it:
  <!-- parsed only: WHY -->   it is understood, not run
  <!-- parsed only: needs the package … -->   nor are its commands composed
  <!-- slow -->               it runs with the slow tests; at the top of a page, all of its blocks do
At the top of a page, `<!-- needs: PATH -->` names a finished search that must be there.
"""

import argparse
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import warnings
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from unittest.mock import patch

import yaml
from hydra import compose, initialize_config_dir

from qtt.cli.commands import COMMANDS
from qtt.cli.configuration import config_directory
from waiting import LIMIT

ROOT = Path(__file__).parents[1]
SHORT = ROOT / "tests" / "short"
"""Put on the path of what runs: its `sitecustomize` ends every search after a few epochs."""

FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?"
    r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
INCLUDED = re.compile(r'^--8<-- "([^"]+)"\n', re.MULTILINE)
HYDRA = ("run", "collect", "metatrain", "benchmark")
PARSED_ONLY = "parsed only: "
OF_A_PACKAGE = f"{PARSED_ONLY}needs the package"
"""Commands with options that a package of the reader's adds: there is nothing to compose."""


@dataclass(frozen=True)
class Block:
    """A fenced block; title: the file that it is. mark: what the comment before it says."""

    page: str
    line: int
    language: str
    text: str
    title: str | None = None
    mark: str = ""

    @property
    def name(self) -> str:
        """Page and line."""
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is run, and not parsed alone."""
        runnable = self.title is not None or self.language in ("sh", "python")
        return runnable and not self.mark.startswith(PARSED_ONLY)

    @property
    def slow(self) -> bool:
        """Whether it runs with the slow tests."""
        return self.mark == "slow"


def blocks(text: str, page: str = "README") -> list[Block]:
    """All fenced blocks of a page, in order."""
    whole = text.startswith("<!-- slow -->")
    found = []
    for match in FENCE.finditer(text):
        mark = match["mark"] or ("slow" if whole else "")
        line = text.count("\n", 0, match.start("language")) + 1
        body = INCLUDED.sub(lambda include: (ROOT / include[1]).read_text(encoding="utf-8"), match["text"])
        found.append(Block(page, line, match["language"], body, match["title"], mark))
    return found


def lines(script: str) -> list[list[str]]:
    """Words of every command of a script, comments dropped and continued lines joined."""
    joined = script.replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def module_commands(script: str, program: str | None = None) -> list[tuple[str, list[str]]]:
    """Module and arguments of every `python -m MODULE …` and `qtt NAME …` in a script."""
    found = []
    for words in lines(script):
        words = words[1:] if words[0] == "exec" else words
        if words[0] == "qtt" and words[1:2] and words[1] in COMMANDS:
            words = ["python", "-m", f"qtt.{words[1]}", *words[2:]]
        if words[:2] == ["python", "-m"] and program in (None, words[2]):
            found.append((words[2], words[3:]))
    return found


def expanded(overrides: list[str]) -> list[list[str]]:
    """The overrides of every run of a sweep."""
    if "-m" not in overrides:
        return [overrides]
    kept = [override.split("=") for override in overrides if override != "-m"]
    return [list(c) for c in product(*([f"{k}={v}" for v in vs.split(",")] for k, vs in kept))]


class Understood(BaseException):
    """Raised instead of doing what a command line asks for, once it was parsed."""


def understand_command(module: str, arguments: list[str]) -> None:
    """Compose a Hydra command's configuration, or parse another command's arguments, and stop there."""
    if "--help" in arguments:
        return
    if module.removeprefix("qtt.") in HYDRA:
        flags = ("--quiet", "-q")
        for overrides in expanded([argument for argument in arguments if argument not in flags]):
            with initialize_config_dir(config_directory(), version_base="1.3"):
                compose(module.removeprefix("qtt."), overrides=overrides)
        return
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        parse(self, *args, **kwargs)  # type: ignore[call-overload]
        raise Understood

    with (
        patch.object(argparse.ArgumentParser, "parse_args", stop),
        patch.object(sys, "argv", [module, *arguments]),
    ):
        try:
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # it was imported before
                runpy.run_module(module, run_name="__main__", alter_sys=False)
        except Understood:
            return
    raise AssertionError(f"python -m {module} parsed no arguments")


def understand(block: Block) -> None:
    """Check what can be checked of a block without running it."""
    match block.language:
        case "python":
            compile(block.text, block.name, "exec")
        case "sh":
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, capture_output=True)
            if block.mark.startswith(OF_A_PACKAGE):
                return
            for module, arguments in module_commands(block.text):
                if module.split(".")[0] in ("qtt", "meta_dataset"):
                    understand_command(module, arguments)
        case "yaml":
            yaml.safe_load(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "json":
            json.loads(block.text)
        case "text":
            pass
        case _:
            raise AssertionError(
                f"{block.name}: say what language it is (sh, python, yaml, toml, json, text)"
            )


def environment(scratch: Path) -> dict[str, str]:
    """Of what runs: this Python as `python`, `make` that only looks its targets up, short searches."""
    programs = scratch / ".programs"
    programs.mkdir(exist_ok=True)
    make = programs / "make"
    make.write_text(
        f'#!/bin/sh\nexec /usr/bin/env -u MAKEFLAGS "{_make()}" -n -C {shlex.quote(str(ROOT))} "$@"\n'
    )
    make.chmod(0o755)
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    program = programs / "qtt"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m qtt "$@"\n')
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(SHORT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "COLUMNS": "120",
    }


def _make() -> str:
    from shutil import which

    found = which("make")
    assert found, "the guides' `make` commands are looked up by make"
    return found


def run(block: Block, scratch: Path) -> "subprocess.CompletedProcess[str]":
    """Run a block in a folder as it is printed; one with a title becomes the file of that name."""
    if block.title is not None:
        (scratch / block.title).write_text(block.text, encoding="utf-8")
        return subprocess.CompletedProcess([], 0, "", "")
    if block.language == "python":
        (scratch / "example.py").write_text(block.text, encoding="utf-8")
        line = [sys.executable, "example.py"]
    else:
        line = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(
        line, cwd=scratch, env=environment(scratch), capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, f"{block.name}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done
