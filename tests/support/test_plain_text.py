import csv
import io

import pandas as pd
import pytest

from qtt.support.plain_text import cell, cells, plain


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2+3", "@SUM(A1)", "=cmd|' /C calc'!A0"])
def test_spreadsheets_compute_nothing(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cells(pd.DataFrame({text: [text, "a"]})).to_dict("list") == {f"'{text}": [f"'{text}", "a"]}


def test_numbers_and_usual_names_stay() -> None:
    for value in (-1.5, 3, None, True, "a=b", "photos/a-1.png", "Käse", "犬"):
        assert cell(value) == value


@pytest.mark.parametrize(
    "text", ["\x1b[2Jgone", "a\r\nb", "\x07", "\x9b31m", "abc\u202etxt.exe", "\tx", "\x7f"]
)
def test_terminals_are_told_nothing(text: str) -> None:
    assert plain(text).isprintable()
    written = io.StringIO()
    csv.writer(written).writerow([cell(text)])
    assert len(written.getvalue().splitlines()) == 1
