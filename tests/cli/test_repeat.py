"""A run is repeated from its folder: the same asks and scores, and what differs is told."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qtt.cli.commands import COMMANDS
from qtt.errors import ConfigError
from qtt.repeat import Comparison, main, repeated
from qtt.runs.record import RunRecord
from qtt.support.files import write_json


def _commanded(run: Path, *arguments: str) -> RunRecord:
    told = json.loads((run / "environment.json").read_text())
    write_json(run / "environment.json", told | {"command": ["qtt/run.py", *arguments]})
    return RunRecord.load(run)


@pytest.fixture
def run(kept_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_run, tmp_path / "run"))


def test_the_command_is_repeated_elsewhere_and_bounded_by_epochs(run: Path, tmp_path: Path) -> None:
    record = _commanded(run, "+experiment=quickstart", "budget.seconds=9", "seed=3", "run_dir=x")
    epochs = len([entry for entry in record.entries if entry.result.succeeded])
    assert repeated(record, tmp_path / "new") == [
        *("+experiment=quickstart", "seed=3", f"run_dir={tmp_path / 'new'}"),
        *("budget.seconds=null", f"budget.evaluations={epochs}"),
    ]


@pytest.mark.parametrize(
    "argument",
    [
        "optimizer._target_=os.system",
        "+dataset={_target_: os.system, command: ls}",
        "search_space.function=evil.f",
        "objective.function=evil:f",
        "--config-dir=/srv/evil",
        "-m",
        "hydra.searchpath=[file:///srv/evil]",
        "+hydra.searchpath=[file:///srv/evil]",
    ],
)
def test_code_that_a_folder_names_is_not_run(run: Path, tmp_path: Path, argument: str) -> None:
    record = _commanded(run, "+experiment=quickstart", argument)
    with pytest.raises(ConfigError, match=r"names code .* --trust"):
        repeated(record, tmp_path / "new")
    assert argument in repeated(record, tmp_path / "new", trusted=True)


@pytest.mark.parametrize("command", [None, [], ["x"], "ls", [1, 2], {"a": 1}])
def test_a_folder_must_say_how_it_began(run: Path, tmp_path: Path, command: object) -> None:
    told = json.loads((run / "environment.json").read_text())
    write_json(run / "environment.json", told | {"command": command})
    with pytest.raises(ConfigError, match="does not say by which command"):
        repeated(RunRecord.load(run), tmp_path / "new")


def test_what_differs_is_counted(run: Path, tmp_path: Path) -> None:
    record = RunRecord.load(run)
    assert Comparison.of(record, record).whole
    lines = (run / "journal.jsonl").read_text().splitlines()
    changed = [{k: v for k, v in json.loads(line).items() if k != "crc"} for line in lines]
    changed[1]["score"] = 0.25
    (run / "journal.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in [*changed[:2], changed[3]])
    )
    found = Comparison.of(record, RunRecord.load(run))
    assert (found.epochs, found.same_asks, found.unequal) == ((4, 3), 2, 1)
    assert found.furthest > 0.1 and not found.whole


def test_the_quickstart_repeats_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Real training in a process of its own, asked for by Quick-Tune with its learned predictors."""
    monkeypatch.setenv("QTT_CACHE", str(tmp_path / "cache"))
    given = ("+experiment=quickstart", "num_candidates=16", "budget.seconds=null", "budget.evaluations=6")
    command = [sys.executable, "-m", "qtt.run", *given, f"run_dir={tmp_path / 'run'}", "--quiet"]
    subprocess.run(command, check=True, capture_output=True)
    assert main([str(tmp_path / "run")]) == 0
    said = capfd.readouterr().out
    assert "Versions, commit and hardware are the same." in said
    assert "from the first on: 6 of 6 and 6" in said and "0 of 6 scores of the same epochs differ" in said
    assert (tmp_path / "run-repeat" / "journal.jsonl").is_file()


def test_it_is_a_command() -> None:
    assert COMMANDS["repeat"].module == "qtt.repeat"
