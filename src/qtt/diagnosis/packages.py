"""Python, the packages that qtt requires, its extras, and what other packages add to it."""

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from qtt import __version__
from qtt.cli.announced import GROUPS as OPTION_GROUPS
from qtt.cli.announced import option
from qtt.diagnosis.finding import Finding
from qtt.errors import ConfigError
from qtt.support.plugins import GROUPS, installed, load
from qtt.tasks.registry import GROUP as TASKS
from qtt.tasks.registry import load_task

HEADLINES = ("torch", "torchvision", "timm", "lightning")
"""Packages that are imported to see whether they can be, and have a line of their own."""

TEST_EXTRA = "dev"


def python() -> Iterator[Finding]:
    """Python's version against the one that qtt requires."""
    found = f"{platform.python_version()} ({sys.executable})"
    try:
        needed = SpecifierSet(metadata("qtt")["Requires-Python"] or "")
    except PackageNotFoundError:
        needed = SpecifierSet()
    if platform.python_version() in needed:
        yield Finding("python", found)
    else:
        yield Finding("python", found, "problem", f"Install qtt into a Python {needed}.")


def required(distribution: str = "qtt") -> Iterator[Finding]:
    """The versions of what a distribution requires; the heavy ones are imported too."""
    try:
        needed = [Requirement(text) for text in requires(distribution) or ()]
    except PackageNotFoundError:
        mend = "Install it, for instance by: pip install -e . (in a checkout)"
        yield Finding(distribution, "runs from a folder and is not installed", "warning", mend)
        return
    yield Finding(distribution, __version__)
    plain = [requirement for requirement in needed if requirement.marker is None]
    wrong = [finding for requirement in plain if (finding := _compared(requirement)) is not None]
    yield from wrong
    named = {finding.name for finding in wrong}
    headlines = [name for name in HEADLINES if name in {r.name for r in plain} - named]
    for name in headlines:
        yield _imported(name)
    rest = len(plain) - len(wrong) - len(headlines)
    yield Finding("others", f"{rest} more packages that it requires are there")


def _compared(requirement: Requirement) -> Finding | None:
    """What is wrong with the version of a required package; None where nothing is."""
    mend = f"pip install '{requirement}'"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Finding(requirement.name, "not installed", "problem", mend)
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return Finding(requirement.name, f"{found}, needs {requirement.specifier}", "problem", mend)


def _imported(name: str) -> Finding:
    try:
        module = import_module(name)
    except Exception as error:  # a package that is broken can raise anything
        reason = str(error).strip().splitlines()
        found = f"{version(name)} cannot be imported: {type(error).__name__}: {reason[0] if reason else ''}"
        return Finding(name, found, "problem", f"pip install --force-reinstall {name}")
    return Finding(name, f"{version(name)}{_build(module) if name == 'torch' else ''}")


def _build(torch: object) -> str:
    built = getattr(torch, "version", None)
    cuda, hip = getattr(built, "cuda", None), getattr(built, "hip", None)
    return f", built for CUDA {cuda}" if cuda else f", built for ROCm {hip}" if hip else ", built for CPUs"


def extras(distribution: str = "qtt") -> Iterator[Finding]:
    """Which extras of a distribution are installed; none of them is needed for a search."""
    try:
        names = metadata(distribution).get_all("Provides-Extra") or []
        needed = [Requirement(text) for text in requires(distribution) or ()]
    except PackageNotFoundError:
        return
    for name in names:
        if name == TEST_EXTRA:
            continue
        parts = [r for r in needed if r.marker is not None and r.marker.evaluate({"extra": name})]
        lacking = [part.name for part in parts if _compared(part) is not None]
        there = ", ".join(f"{part.name} {version(part.name)}" for part in parts if part.name not in lacking)
        if lacking:
            yield Finding(name, f"not installed; for it: pip install '{distribution}[{name}]'")
        else:
            yield Finding(name, there)


def plugins(taken: Mapping[str, Sequence[str]] | None = None) -> Iterator[Finding]:
    """What installed packages announce, each imported to see whether it can be used.

    taken: names that `conf/` has already, by group of the configuration; they come before announced ones.
    """
    groups = {announced: group for group, announced in OPTION_GROUPS.items()}
    count = 0
    for announced, kind in GROUPS.items():
        try:
            points = installed(announced)
        except ConfigError as error:
            yield Finding(kind, str(error), "problem", "Every command that looks for options stops at it.")
            continue
        group = groups.get(announced)
        for point in points.values():
            package = "a package" if point.dist is None else point.dist.name
            if package != "qtt":
                count += 1
                names = (taken or {}).get(group or "", ())
                yield _announced(point, package, group, f"{kind} '{point.name}' ({point.value})", names)
    if not count:
        yield Finding("none", "no installed package adds anything to qtt")


def _announced(
    point: EntryPoint, package: str, group: str | None, found: str, taken: Sequence[str]
) -> Finding:
    """What is to be said of one entry point. group: of the configuration, where there is one for it."""
    if point.name in taken:
        mend = f"{group}={point.name} is qtt's own; its author can rename it."
        return Finding(package, f"{found} has a name that is taken", "warning", mend)
    try:
        if point.group == TASKS:
            load_task(point.name)
        load(point.group, point.name)
        if group is not None:
            option(group, point.name)
    except ConfigError as error:
        return Finding(package, str(error), "warning", f"Mend or uninstall {package}.")
    return Finding(package, found)
