"""The documentation builds strictly and without network, all links lead somewhere, and nothing is fetched."""

import os
import subprocess
import sys
from pathlib import Path

import check_site
import commands
import plain_attributes
import pytest

from guides import ROOT
from waiting import LIMIT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("documentation") / "site"
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert check_site.problems(site) == []
    assert any("optuna" in address for address in check_site.external(site))


def test_the_reference_is_complete(site: Path) -> None:
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for command in commands.commands(ROOT):
        assert f"python -m {command}" in text
    types = (site / "reference" / "types.html").read_text(encoding="utf-8")
    for name in ("qtt.types.Trial", "qtt.types.Result", "qtt.errors.ConfigError"):
        assert f'id="{name}"' in types


def test_figures_are_part_of_the_page(site: Path) -> None:
    page = (site / "concepts" / "decisions.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 2
    assert "var(--fig-blue" in page
    assert "figures/decision.svg" not in page
    assert "--fig-blue" in (site / "assets" / "palette.css").read_text(encoding="utf-8")


def test_pages_hold_nothing_of_this_machine(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for path in (str(ROOT), str(Path.home() / ".cache"), sys.prefix):
            assert path not in text, f"{page.name}: {path}"


def test_commands_are_found_by_what_they_are() -> None:
    found = commands.commands(ROOT)
    assert found[:2] == ["qtt.run", "qtt.report"]
    assert {"qtt.curves.importers", "qtt.finetune", "meta_dataset.build", "qtt.benchmark"} <= set(found)
    assert "--budget" in commands.said_help(ROOT, "qtt.finetune")


def test_the_checker_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">x</a> <a href="#gone">x</a> <a href="b.html#there">x</a>'
        '<a href="c.html">x</a> <a href="https://example.org">x</a>'
        '<script src="https://cdn.example.org/x.js"></script><link rel="canonical" href="https://example.org">'
    )
    (tmp_path / "b.html").write_text('<h2 id="there">x</h2>')
    (tmp_path / "s.css").write_text("@font-face { src: url(https://fonts.example.org/f.woff2) }")
    assert check_site.problems(tmp_path) == [
        "a.html loads https://cdn.example.org/x.js",
        "a.html: #gone: there is no such anchor",
        "a.html: c.html: there is no such file",
        "s.css loads https://fonts.example.org/f.woff2",
    ]
    assert check_site.external(tmp_path) == ["https://example.org"]


def test_attributes_in_docstrings_become_a_list() -> None:
    text = "What it is.\n\nfirst: one thing\n    and more.\nSome prose: no.\n\nArgs:\n    a: b"
    listed = plain_attributes.as_list(text)
    assert "- **first**: one thing\n    and more." in listed
    assert listed.endswith("Args:\n    a: b")
    assert plain_attributes.as_list("One: line.") == "One: line."
    both = plain_attributes.as_list("X.\n\nscore: higher. cost: seconds.")
    assert both.splitlines()[-2:] == ["- **score**: higher.", "- **cost**: seconds."]
