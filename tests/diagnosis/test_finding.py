"""The level of a diagnosis, its data, and checks that break."""

import json
from collections.abc import Iterator

import pytest

from qtt.diagnosis.finding import Finding, Level, Topic, look, to_dict, worst


def test_a_check_that_breaks_is_a_problem_and_stops_no_other() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("first", "seen")
        raise OSError("the disk is gone")

    topic = look("Disks", [("disk", broken), ("other", lambda: [Finding("other", "fine")])])
    assert [(f.name, f.level) for f in topic.findings] == [
        ("first", "ok"),
        ("disk", "problem"),
        ("other", "ok"),
    ]
    assert topic.findings[1].found == "OSError: the disk is gone"


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((), "ok"),
        (("ok", "ok"), "ok"),
        (("ok", "warning"), "warning"),
        (("warning", "problem", "ok"), "problem"),
    ],
)
def test_the_whole_is_as_bad_as_its_worst_part(levels: tuple[Level, ...], expected: str) -> None:
    topics = [Topic("t", (Finding("n", "f", level),)) for level in levels]
    assert worst(topics) == expected
    data = json.loads(json.dumps(to_dict(topics)))
    assert data["level"] == expected
    assert [finding["level"] for finding in data["findings"]] == list(levels)
    assert all(set(f) == {"topic", "name", "found", "level", "mend"} for f in data["findings"])
