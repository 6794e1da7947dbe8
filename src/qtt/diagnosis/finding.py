"""What was found, whether that is well, and what mends it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "problem")
"""From well to broken: with a problem no search can be trusted to run."""


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    name: what was looked at. found: what is there, in words. mend: what to do about it; empty where all is
    well.
    """

    name: str
    found: str
    level: Level = "ok"
    mend: str = ""


@dataclass(frozen=True)
class Topic:
    """Findings that belong together."""

    title: str
    findings: tuple[Finding, ...]


Check = Callable[[], Iterable[Finding]]


def look(title: str, checks: Sequence[tuple[str, Check]]) -> Topic:
    """Run checks by name; one that breaks is a problem like others, so that the rest is still looked at."""
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += check()
        except Exception as error:  # whatever breaks here would break a search too
            reason = f"{type(error).__name__}: {error}".strip()
            findings.append(Finding(name, reason, "problem", "This is what a search would meet as well."))
    return Topic(title, tuple(findings))


def worst(topics: Sequence[Topic]) -> Level:
    """The level of the whole."""
    found = {finding.level for topic in topics for finding in topic.findings}
    return max(found or {LEVELS[0]}, key=LEVELS.index)


def to_dict(topics: Sequence[Topic]) -> dict[str, Any]:
    """A diagnosis as JSON-able data: its level, and all findings with their topics."""
    findings = [{"topic": topic.title, **asdict(finding)} for topic in topics for finding in topic.findings]
    return {"level": worst(topics), "findings": findings}
