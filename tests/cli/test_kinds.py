"""What people write for a value, and what it means."""

from pathlib import Path
from typing import Any

import pytest

from qtt.cli.kinds import (
    COUNTING,
    SECONDS,
    SHARE,
    Choice,
    Either,
    Kind,
    ListOf,
    Number,
    PathName,
    Switch,
    bytes_in,
)

DURATION = Number("seconds", 0, above=True, units=SECONDS, written="90, 1h").or_null("no limit")
COUNT = Number("a whole number", 1, whole=True)
GIGABYTES = Number("gigabytes", 0, units=bytes_in(1e9))


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        (DURATION, 90, 90),
        (DURATION, 1.5, 1.5),
        (DURATION, "90", 90),
        (DURATION, "90s", 90),
        (DURATION, "10min", 600),
        (DURATION, "1.5 h", 5400),
        (DURATION, "1h 30min", 5400),
        (DURATION, "1h30m", 5400),
        (DURATION, "2 Days", 172800),
        (DURATION, None, None),
        (DURATION, "none", None),
        (COUNT, 3, 3),
        (COUNT, 1e2, 100),
        (COUNT, "1e2", 100),
        (GIGABYTES, "20GB", 20),
        (GIGABYTES, "500 MB", 0.5),
        (GIGABYTES, "1TiB", 1099.511627776),
        (Number("pixels", units=COUNTING, whole=True), "500M", 500_000_000),
        (Number("a share", 0, 1, units=SHARE), "20%", 0.2),
        (Number("a share", 0, 1, units=SHARE), 0.2, 0.2),
        (Choice(("a", "b"), null="neither"), "b", "b"),
        (Choice(("a", "b"), null="neither"), None, None),
        (Switch(), True, True),
        (Switch(), 0, False),
        (Switch(), "yes", True),
        (PathName(), 2024, "2024"),
        (PathName(), "~no such user/x", "~no such user/x"),
        (ListOf(COUNT), [1, "2"], [1, 2]),
        (Either(COUNT, ListOf(COUNT)), [1], [1]),
        (Either(COUNT, ListOf(COUNT)), 5, 5),
    ],
)
def test_it_is_understood(kind: Kind, written: Any, meant: Any) -> None:
    found = kind.read(written)
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        *(
            (DURATION, value)
            for value in ("soon", "1w", "h", "1h 30", "", 0, -1, True, [1], float("inf"), "nan")
        ),
        *((COUNT, value) for value in (0, 1.5, "1.5", "abc", None, "1k", False)),
        *((Number("a share", 0, 1, units=SHARE), value) for value in ("120%", -0.1, "20 percent")),
        *((Choice(("a", "b")), value) for value in ("c", None, 1)),
        *((Switch(), value) for value in ("maybe", None, 2)),
        *((PathName(), value) for value in ("", None, True, ["x"])),
        *((ListOf(COUNT), value) for value in ("1,2", None, [1, "a"])),
        (Either(COUNT, ListOf(COUNT)), "a"),
    ],
)
def test_it_is_refused(kind: Kind, written: Any) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        kind.read(written)


def test_what_is_expected_is_said_in_full() -> None:
    assert DURATION.expected == "seconds, above 0 (90, 1h), or null: no limit"
    assert Number("a number", 0, 4294967295).expected == "a number, at least 0 and at most 4294967295"
    assert ListOf(COUNT, null="all").expected == (
        "a list, [A,B,…], each of them a whole number, at least 1, or null: all"
    )


def test_the_home_folder_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert PathName().read("~/photos") == "/home/someone/photos"
    assert PathName().read("photos~") == "photos~"
    assert Path(str(PathName().read("~"))) == Path("/home/someone")
