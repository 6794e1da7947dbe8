"""What the experiments show follows from their committed results, and is written the same way everywhere."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

SCRIPTS = Path(__file__).parents[2] / "experiments"


def test_every_table_follows_from_the_results() -> None:
    command = [sys.executable, str(SCRIPTS / "pages.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"{found.stdout}{found.stderr}\nrun experiments/pages.py"


def test_a_page_knows_what_is_out_of_date_and_writes_it(load: Any, tmp_path: Path) -> None:
    pages = load("pages")
    same, other, missing = (tmp_path / name for name in ("same.csv", "other.md", "new/missing.md"))
    same.write_text("1")
    other.write_text("2")
    page = pages.Page({same: "1", other: "3", missing: "4"}, {tmp_path / "figure": Figure})
    assert page.out_of_date() == [other, missing]
    page.write()
    assert page.out_of_date() == []
    assert {path.name for path in tmp_path.glob("figure.*")} == {"figure.png", "figure.svg"}


def test_a_table_goes_between_its_marks_and_nowhere_else(load: Any) -> None:
    pages = load("pages")
    text = "before\n<!-- table a: written by `make tables` -->\nold\n<!-- end of a -->\nafter"
    table = pages.markdown(["x", "y"], [["1", "2"]])
    written = pages.with_table(text, table, "a")
    assert written.splitlines()[2:5] == ["| x | y |", "| --- | --- |", "| 1 | 2 |"]
    assert written.startswith("before\n") and written.endswith("\nafter")
    assert pages.with_table(written, table, "a") == written
    with pytest.raises(ValueError, match="no place for the table"):
        pages.with_table(text, table, "b")


def test_names_that_are_no_experiments_are_refused(
    load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = load("pages")
    monkeypatch.setattr(sys, "argv", ["pages.py", "nonsense"])
    with pytest.raises(SystemExit):
        pages.main()
    assert "no experiment with a page is called nonsense" in capsys.readouterr().err


def test_numbers_are_short(load: Any) -> None:
    short = load("pages").short
    assert (short(0.2149), short(-0.0311), short(1.0)) == (".215", "-.031", "1.000")
