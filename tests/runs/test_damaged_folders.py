"""Run folders that disks and strangers have changed: readers tell what they can, or say what is wrong."""

import copy
import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qtt.errors import ConfigError, QTTError
from qtt.report import main as report
from qtt.runs.record import RunRecord, dataset_warnings
from qtt.search.final_training import kept_table
from qtt.search.tuner import QuickTuner
from qtt.statistics import pipeline_table
from qtt.statistics.fronts import cost_table

HOSTILE = (None, -1, 10**18, 1e308, "x", "", [], {}, True, [1], {"a": 1}, "../x", "DROP")
Path_ = tuple[Any, ...]


def read(folder: Path) -> None:
    """All that readers do with a run folder before they train or predict."""
    record = RunRecord.load(folder)
    pipeline_table(record.history, record.candidates)
    cost_table(record)
    kept_table(record)
    dataset_warnings(folder)
    record.task_here()
    QuickTuner.load(folder)


@pytest.fixture
def folder(kept_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_run, tmp_path / "run"))


def _places(data: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Places in a JSON value, of lists and objects the first few."""
    yield at
    keys = (
        list(data)[:8] if isinstance(data, dict) else range(len(data[:2])) if isinstance(data, list) else ()
    )
    for key in keys:
        yield from _places(data[key], (*at, key))


def _edited(data: Any, at: Path_, value: Any) -> Any:
    if not at:
        return value
    data = copy.deepcopy(data)
    holder = data
    for key in at[:-1]:
        holder = holder[key]
    if value == "DROP":
        del holder[at[-1]]
    else:
        holder[at[-1]] = value
    return data


def _edits(folder: Path, every: bool) -> Iterator[tuple[Path, str]]:
    """Files of JSON with one value replaced; of logs of results that of the last line, without its checksum.

    every: by all of `HOSTILE`; otherwise by the next one.
    """
    values = itertools.cycle(HOSTILE)
    for file in sorted(folder.rglob("*.json*")):
        lines = (
            [json.loads(line) for line in file.read_text().splitlines()] if file.suffix == ".jsonl" else []
        )
        lines = [{key: value for key, value in line.items() if key != "crc"} for line in lines]
        data = lines[-1] if lines else json.loads(file.read_text())
        for at in _places(data):
            for value in HOSTILE if every else itertools.islice(values, 1):
                edited = [*lines[:-1], _edited(data, at, value)]
                yield file, "".join(json.dumps(line) + "\n" for line in edited)


def _reads_or_says(folder: Path) -> None:
    try:
        read(folder)
    except QTTError as error:
        assert len(str(error)) > 20


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_any_value_may_be_another(folder: Path, every: bool) -> None:
    count = 0
    for file, text in _edits(folder, every):
        whole = file.read_bytes()
        file.write_text(text)
        _reads_or_says(folder)
        file.write_bytes(whole)
        count += 1
    assert count > 100
    read(folder)


@pytest.mark.parametrize("count", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_any_bytes_may_be_others(folder: Path, count: int) -> None:
    rng = random.Random(0)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = file.read_bytes()
        for _ in range(count if whole else 0):
            damaged = bytearray(whole)
            place = rng.randrange(len(whole))
            damaged[place : place + rng.choice((1, 20))] = rng.randbytes(rng.choice((0, 1, 20)))
            file.write_bytes(damaged)
            _reads_or_says(folder)
            file.write_bytes(whole)
    read(folder)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _no_text(path: Path) -> None:
    path.write_bytes(b"\xff" * 30)


SPARED, NEEDED = ("environment.json", "search.json", "end.json"), ("task.json", "candidates.json")


@pytest.mark.parametrize("damage", [_loop, _folder, _pipe, _no_text])
@pytest.mark.parametrize("name", [*SPARED, *NEEDED])
def test_readers_do_without_what_they_can_spare(
    name: str, damage: Callable[[Path], None], folder: Path
) -> None:
    file = folder / name
    file.touch()
    damage(file)
    if name in NEEDED:
        with pytest.raises(ConfigError, match=name):
            read(folder)
    else:
        read(folder)


@pytest.mark.parametrize("name", ["environment.json", "search.json", "dataset.json", "footprints.json"])
def test_a_report_is_made_all_the_same(name: str, folder: Path) -> None:
    (folder / name).write_text("[" * 5000)
    assert report([str(folder)]) == 0
    assert "</html>" in (folder / "report.html").read_text(encoding="utf-8")
