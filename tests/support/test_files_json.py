"""JSON of strangers: whatever it holds, reading it gives a value within limits, or an error that says why."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtt.errors import ConfigError, DamagedFileError
from qtt.support import files
from qtt.support.files import parse_json, read_json, read_object, write_json

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | st.text()
)
values = st.recursive(
    scalars.filter(lambda x: x not in (float("inf"), -float("inf"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    try:
        write_json(path, value)
    except UnicodeEncodeError:  # half a surrogate pair is no text
        return
    assert read_json(path) == value


@given(st.binary(max_size=60))
def test_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        parse_json(data)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"{", "line 1 column 2"),
        (b"\xff\xfe", "utf-8"),
        (b'{"a": 1e999}', "1e999"),
        (b"[-1e400]", "-1e400"),
        (b"1" + b"0" * 400, "has the number 10000"),
        (b"9223372036854775808", "9223372036854775808"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 65 + b"]" * 65, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: bytes, why: str) -> None:
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(DamagedFileError, match=why) as caught:
        read_json(tmp_path / "x.json")
    assert isinstance(caught.value, ConfigError)
    assert str(caught.value).startswith(f"{tmp_path / 'x.json'} cannot be read: ")


def test_numbers_keep_their_signs() -> None:
    assert parse_json("[-3, 3, -0.5, 9223372036854775807]") == [-3, 3, -0.5, 2**63 - 1]
    assert parse_json("[" * 64 + "]" * 64)
    assert parse_json("[NaN]", nan=True)[0] != 0


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("pipe", "folder", "loop"):
        with pytest.raises(DamagedFileError, match=f"{name} cannot be read"):
            read_json(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nothing")
    monkeypatch.setattr(files, "MOST_BYTES", 5)
    (tmp_path / "large").write_text('"abcdef"')
    with pytest.raises(DamagedFileError, match="more than"):
        read_json(tmp_path / "large")


@pytest.mark.parametrize("text", ["[]", "null", "1", '"a"'])
def test_an_object_is_an_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DamagedFileError, match="and no object"):
        read_object(tmp_path / "x.json")
