"""What is said of packages, against distributions laid out in a folder of the path."""

from importlib.metadata import version
from pathlib import Path

import pytest

from plugins import announce
from qtt.diagnosis import packages
from qtt.diagnosis.finding import Finding

SITE = {
    "seed": ("1.0", ""),
    "soil": ("0.9", ""),
    "rotten": ("2.0", "raise OSError('libsun.so is missing\\nsecond line')\n"),
}


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution `garden` that requires others, some of them wrong."""
    lines = [
        "Requires-Dist: seed>=1",
        "Requires-Dist: soil>=1.2",
        "Requires-Dist: water>=3",
        "Requires-Dist: rotten",
        "Provides-Extra: shed",
        "Provides-Extra: fence",
        "Provides-Extra: dev",
        "Requires-Dist: seed>=1; extra == 'shed'",
        "Requires-Dist: seed; extra == 'fence'",
        "Requires-Dist: paint; extra == 'fence'",
    ]
    _lay_out(tmp_path, "garden", "1.0", lines)
    for name, (number, source) in SITE.items():
        _lay_out(tmp_path, name, number)
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def _lay_out(folder: Path, name: str, number: str, lines: list[str] | None = None) -> None:
    info = folder / f"{name}-{number}.dist-info"
    info.mkdir()
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}", *(lines or [])]
    (info / "METADATA").write_text("\n".join(head) + "\n")


@pytest.mark.usefixtures("garden")
def test_what_is_missing_old_or_broken_is_a_problem_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "HEADLINES", ("seed", "rotten"))
    found = {finding.name: finding for finding in packages.required("garden")}
    assert found["soil"] == Finding("soil", "0.9, needs >=1.2", "problem", "pip install 'soil>=1.2'")
    assert found["water"] == Finding("water", "not installed", "problem", "pip install 'water>=3'")
    assert found["rotten"].level == "problem"
    assert found["rotten"].found == "2.0 cannot be imported: OSError: libsun.so is missing"
    assert found["seed"] == Finding("seed", "1.0")


@pytest.mark.usefixtures("garden")
def test_extras_are_there_or_said_how_to_have() -> None:
    assert list(packages.extras("garden")) == [
        Finding("shed", "seed 1.0"),
        Finding("fence", "not installed; for it: pip install 'garden[fence]'"),
    ]


def test_this_installation_is_as_its_metadata_says() -> None:
    found = {finding.name: finding for finding in packages.required()}
    assert {finding.level for finding in found.values()} == {"ok"}
    assert found["torch"].found.startswith(f"{version('torch')}, built for ")
    assert found["timm"].found == version("timm")
    (python,) = packages.python()
    assert python.level == "ok"


def test_another_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    (python,) = packages.python()
    assert (python.level, python.mend) == ("problem", "Install qtt into a Python >=3.11.")


def test_a_folder_that_is_not_installed_is_a_warning() -> None:
    (finding,) = packages.required("no-such-distribution")
    assert finding.level == "warning"
    assert list(packages.extras("no-such-distribution")) == []


def test_plugins_are_named_imported_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "qtt.trackers": {
            "good": "meadow_parts:Tracker",
            "csv": "meadow_parts:Tracker",
            "bad": "meadow_gone:X",
        },
        "qtt.optimizers": {"seedless": "meadow_parts:Seedless"},
        "qtt.regularizers": {"pull": "meadow_parts:Tracker"},
        "qtt.tasks": {"sounds": "meadow_parts:Tracker"},
    }
    source = "class Tracker: ...\nclass Seedless:\n    def __init__(self, config_manager): ...\n"
    announce(tmp_path, "meadow", points, source)
    (tmp_path / "meadow_gone.py").unlink()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [f for f in packages.plugins({"tracker": ("csv",)}) if f.name == "meadow"]
    levels = {f.found.split("'")[1]: f.level for f in found}
    assert levels == {"good": "ok", "pull": "ok", "csv": "warning", "bad": "warning"} | dict.fromkeys(
        ("seedless", "sounds"), "warning"
    )
    (bad,) = [f for f in found if "'bad'" in f.found]
    assert "ModuleNotFoundError" in bad.found
    assert bad.mend == "Mend or uninstall meadow."


def test_a_name_announced_twice_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("one", "two"):
        announce(tmp_path, package, {"qtt.hubs": {"same": f"{package}_hub:x"}}, "x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    (problem,) = [f for f in packages.plugins() if f.level == "problem"]
    assert "Two packages install the model hub 'same'" in problem.found
