"""The description of a run folder is held against folders of real searches."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qtt.runs.layout import LAYOUT, describe, files
from qtt.runs.record import RunRecord

README = Path(__file__).parents[2] / "README.md"
COMMANDS = ("report", "export")
"""Commands that add files to a finished run, with no further arguments."""


@pytest.fixture(scope="module")
def searched(kept_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search from the command line with all trackers and a bound on latency."""
    dataset = RunRecord.load(kept_run).task.path
    folder = tmp_path_factory.mktemp("layout")
    overrides = [
        "+experiment=image_folder",
        f"dataset.path={dataset}",
        "budget.seconds=null",
        "budget.evaluations=2",
        "constraints.max_latency_ms=1e6",
        "trainer=cpu",
        "tracker=all",
        "search_space=quickstart",
        "run_dir=run",
    ]
    _python("run", *overrides, cwd=folder)
    return folder / "run"


@pytest.fixture(scope="module")
def looked_at(kept_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finetuned search with a report, an export and test figures."""
    run = shutil.copytree(kept_run, tmp_path_factory.mktemp("looked") / "run")
    for command in COMMANDS:
        _python(command, str(run), cwd=run.parent)
    (run / "incumbent" / "weights.safetensors").unlink()  # so that the finetuned network is the best
    _python("finetune", str(run), "--k", "1", cwd=run.parent)
    return run


def _python(command: str, *arguments: str, cwd: Path) -> None:
    line = [sys.executable, "-m", f"qtt.{command}", *arguments]
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr


def test_every_file_is_described_by_one_entry(searched: Path, looked_at: Path) -> None:
    for run in (searched, looked_at):
        for path in files(run):
            kinds = [file.pattern for file in LAYOUT if file.matches(path)]
            assert len(kinds) == 1, f"{path}: {kinds}"


def test_every_entry_is_met_in_a_real_folder(searched: Path, looked_at: Path) -> None:
    met = {describe(path) for run in (searched, looked_at) for path in files(run)}
    assert [file.pattern for file in LAYOUT if file not in met] == []


def test_what_every_search_has_is_in_every_folder(searched: Path, looked_at: Path) -> None:
    for run in (searched, looked_at):
        kinds = {describe(path) for path in files(run)}
        assert [file.pattern for file in LAYOUT if not file.when and file not in kinds] == []


def test_members_and_formats_are_those_of_the_files(searched: Path, looked_at: Path) -> None:
    checked = set()
    for run in (searched, looked_at):
        for path in files(run):
            kind = describe(path)
            assert kind is not None
            found = _members(run / path)
            if kind.members:
                assert found is not None
                assert tuple(found) == kind.members, path
                assert found.get("format") == kind.format, path
                checked.add(kind)
    assert checked == {file for file in LAYOUT if file.members}


def test_the_readme_names_files_that_there_are() -> None:
    table = README.read_text(encoding="utf-8").split("| file | what it is |")[1].split("\n\n")[0]
    named = re.findall(r"`([\w./]+)`", table)
    assert len(named) > 8
    for name in named:
        inside = [name, f"incumbent/{name}", f"{name}last.ckpt"]
        assert any(describe(path) for path in inside), name


def test_a_file_of_someone_else_is_not_described() -> None:
    for path in ("notes.txt", "pipelines", "incumbent/weights.bin", "tensorboard", "deep/journal.jsonl"):
        assert describe(path) is None, path


def _members(path: Path) -> dict[str, object] | None:
    """Keys and values of a JSON object, of the first line, of the header or of an archive."""
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        data = json.loads(text.splitlines()[0] if path.suffix == ".jsonl" else text)
        return dict(data)
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return dict.fromkeys(next(csv.reader(file)))
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return dict.fromkeys(archive.files)
    return None
