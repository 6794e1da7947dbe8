"""`python -m qtt.doctor`: is everything here that a search needs, and what would it choose?

python -m qtt.doctor
python -m qtt.doctor --json
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from qtt.cli.interrupts import interruptible
from qtt.cli.invocation import command_for
from qtt.data.library_caches import keep_library_caches
from qtt.diagnosis import choices, devices, packages, places
from qtt.diagnosis.finding import Finding, Level, Topic, look, to_dict, worst
from qtt.errors import ConfigError
from qtt.support import network

SIGNS: dict[Level, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "problem": ("problem", "bold red"),
}
"""What stands before a finding, and its colour."""


@interruptible()
def main(arguments: Sequence[str] | None = None, probe: network.Probe = network.answer) -> int:
    """Entry point; returns the exit status: 1 where something that a search needs is broken, else 0.

    probe: asks addresses of the network.
    """
    parser = argparse.ArgumentParser(
        prog=command_for("doctor"),
        description="Look at this installation and machine: packages, devices, folders, network, and what a "
        "search would choose. Exit status: 1 where something that a search needs is broken, else 0.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    options = parser.parse_args(arguments)
    with Console(stderr=True).status("looking"):
        topics = diagnose(probe)
    if options.json:
        print(json.dumps(to_dict(topics), indent=2, ensure_ascii=False))  # noqa: T201 - as it is, for programs
    else:
        show(topics, Console(highlight=False))
    return int(worst(topics) == "problem")


def diagnose(probe: network.Probe) -> list[Topic]:
    """Look at everything; nothing is raised, and nothing waits for longer than the probe does."""
    keep_library_caches()
    installed = look("Packages", [("python", packages.python), ("packages", packages.required)])
    torch = sys.modules.get("torch")  # where the look at packages could import it
    return [
        installed,
        look("Extras", [("extras", packages.extras)]),
        look("Added by other packages", [("entry points", _plugins)]),
        look(
            "Machine",
            [
                ("cores", devices.cores),
                ("memory", devices.memory),
                ("GPU", partial(devices.gpus, torch)),
            ],
        ),
        look("Folders", [("cache folder", _cache), ("run folders", _runs)]),
        look(
            "Network",
            [
                ("Hugging Face hub", partial(places.model_hub, probe)),
                ("package index", partial(places.package_index, probe)),
            ],
        ),
        look(
            "A search would choose",
            [("defaults", _defaults), ("own images", partial(choices.own_images, probe))],
        ),
    ]


def show(topics: Sequence[Topic], console: Console) -> None:
    """Print all findings, one a line, each with what mends it, and the next command to type."""
    findings = [finding for topic in topics for finding in topic.findings]
    width = max(len(finding.name) for finding in findings)
    signs = max(len(sign) for sign, _ in SIGNS.values())
    for topic in topics:
        console.print(Text(topic.title, style="bold"))
        for finding in topic.findings:
            sign, style = SIGNS[finding.level]
            head = (f"{finding.name:{width}}  ", "dim" if finding.level == "ok" else "")
            line = Text.assemble("  ", (f"{sign:{signs}}", style), "  ", head, finding.found)
            console.print(line, soft_wrap=True)
            if finding.mend:
                console.print(Text(f"{'':{signs + width + 6}}→ {finding.mend}"), soft_wrap=True)
        console.print()
    console.print(Text(_conclusion(findings)), soft_wrap=True)


def _conclusion(findings: Sequence[Finding]) -> str:
    problems, warnings = (sum(f.level == level for f in findings) for level in ("problem", "warning"))
    if problems:
        return f"Problems: {problems}. A search would meet them; mend them first."
    found = f" Warnings: {warnings}." if warnings else ""
    return f"All that a search needs is here.{found} To try it: {command_for('run')} +experiment=quickstart"


def _plugins() -> Iterator[Finding]:
    from qtt.cli.configuration import shipped_options

    yield from packages.plugins(shipped_options())


def _cache() -> Iterator[Finding]:
    from qtt.data.user_cache import find_cache

    mend = "QTT_CACHE=DIR names another folder"
    try:
        folder, why = find_cache()
    except ConfigError as error:
        yield Finding("cache folder", str(error), "problem", mend)
        return
    if why:
        yield Finding("cache folder", f"{why}; {folder} takes its place", "warning", mend)
    yield from places.folder("cache folder", folder, mend)


def _runs() -> Iterator[Finding]:
    config, _ = _configuration()
    yield from places.folder("run folders", Path(config["runs_dir"]).absolute(), "runs_dir=DIR names another")


def _defaults() -> Iterator[Finding]:
    from hydra.utils import instantiate

    config, chosen = _configuration()
    yield from choices.device(config["objective"]["settings"])
    yield from choices.models(instantiate(config["model_hub"]))
    yield from choices.weights(config["optimizer"].get("weights"))
    yield from choices.values(config, chosen)


def _configuration() -> tuple[dict[str, Any], dict[str, str]]:
    """The plain configuration of a search that is told nothing, and the option of each group."""
    from qtt.cli.configuration import composed, plain

    config, chosen = composed("run")
    return plain(config), chosen


if __name__ == "__main__":
    sys.exit(main())
