import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtt.errors import JournalError
from qtt.runs.journal import Journal
from qtt.types import Result, Status

succeeded = st.builds(
    Result,
    config_id=st.integers(0, 500),
    fidelity=st.integers(1, 50),
    score=st.floats(-1, 1),
    cost=st.floats(1e-3, 1e5),
    info=st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=2),
)


def _fill(path: Path, count: int) -> Journal:
    journal = Journal(path)
    for i in range(count):
        journal.append(Result(i, 1, 0.1 * i, 1.0), elapsed=float(i))
    return journal


@given(st.lists(succeeded, max_size=8))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, results: list[Result]) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    for i, result in enumerate(results):
        journal.append(result, elapsed=1.5 * i)
    entries = journal.read()
    assert [entry.result for entry in entries] == results
    assert [entry.elapsed for entry in entries] == [1.5 * i for i in range(len(results))]


def test_failures_are_kept_with_their_reason(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(Result(1, 2, float("nan"), 0.5, Status.FAILED, {"reason": "out of memory"}), 1.0)
    (entry,) = journal.read()
    assert entry.result.status is Status.FAILED
    assert entry.result.info["reason"] == "out of memory"


def test_no_file_is_an_empty_journal(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal.jsonl").read() == []


def test_every_torn_end_is_dropped_and_appending_goes_on(tmp_path: Path) -> None:
    whole = _fill(tmp_path / "whole.jsonl", 3).path.read_bytes()
    second = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for cut in range(second, len(whole)):
        journal = Journal(tmp_path / f"{cut}.jsonl")
        journal.path.write_bytes(whole[:cut])
        assert [entry.result.config_id for entry in journal.read()] == [0, 1]
        journal.append(Result(7, 1, 0.7, 1.0), 9.0)
        assert [entry.result.config_id for entry in journal.read()] == [0, 1, 7]


@pytest.mark.parametrize("damage", [b'{"elapsed": 1', b"[]", b"null", b"", b'{"elapsed": 1.0}'])
def test_damage_before_the_end_names_the_line(tmp_path: Path, damage: bytes) -> None:
    journal = _fill(tmp_path / "journal.jsonl", 3)
    lines = journal.path.read_bytes().split(b"\n")
    lines[1] = damage
    journal.path.write_bytes(b"\n".join(lines))
    with pytest.raises(JournalError, match="Line 2"):
        journal.read()


def test_a_line_is_json_that_others_can_read(tmp_path: Path) -> None:
    journal = _fill(tmp_path / "journal.jsonl", 1)
    line = {"elapsed": 0.0, "config_id": 0, "fidelity": 1, "score": 0.0, "cost": 1.0}
    told = json.loads(journal.path.read_text())
    assert told.pop("crc")
    assert told == line | {"status": "success", "info": {}}


def test_no_flipped_bit_changes_a_result(tmp_path: Path) -> None:
    journal = _fill(tmp_path / "journal.jsonl", 4)
    whole, told = journal.path.read_bytes(), journal.read()
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        journal.path.write_bytes(damaged)
        try:
            found = journal.read(repair=False)
        except JournalError:
            continue
        # the last line's end was hit, so that it counts as torn; or only the name of the checksum was
        assert found in (told, told[:3])


def test_lines_of_earlier_versions_are_read_and_later_ones_have_checksums(tmp_path: Path) -> None:
    journal = _fill(tmp_path / "journal.jsonl", 2)
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    old = "".join(json.dumps({k: v for k, v in line.items() if k != "crc"}) + "\n" for line in lines)
    journal.path.write_text(old)
    journal.append(Result(2, 1, 0.5, 1.0), 2.0)
    assert [entry.result.config_id for entry in journal.read()] == [0, 1, 2]
    journal.path.write_text(journal.path.read_text() + old)
    with pytest.raises(JournalError, match=r"Line 4 .* has no checksum"):
        journal.read()


@pytest.mark.parametrize("elapsed", ["-1.0", "1e999", "NaN", '"x"', "1" * 400])
def test_a_budget_cannot_be_won_back(tmp_path: Path, elapsed: str) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    result = json.dumps(Result(0, 1, 0.5, 1.0).to_dict())[1:]
    journal.path.write_text(f'{{"elapsed": {elapsed}, {result}\n')
    with pytest.raises(JournalError, match="Line 1"):
        journal.read()


def test_time_does_not_run_backwards_in_a_search(tmp_path: Path) -> None:
    for rising in (False, True):
        journal = Journal(tmp_path / f"{rising}.jsonl", rising)
        for elapsed in (1.0, 3.0, 2.0):
            journal.append(Result(0, 1, 0.5, 1.0), elapsed)
        if rising:
            with pytest.raises(JournalError, match=r"Line 3 .* fewer than those of the line before"):
                journal.read()
        else:
            assert len(journal.read()) == 3
