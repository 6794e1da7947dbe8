"""What is seen to before a search: folders, disk, memory, and rehearsals in this process and in another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import objectives
from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation import Evaluator, make_evaluator
from qtt.evaluation.preflight import (
    LEAST_DISK,
    Preflight,
    check_memory,
    check_room,
    check_writable,
    in_words,
    summary,
)
from qtt.support import resources
from qtt.tasks.preflight import Said
from qtt.types import Candidates, TaskInfo, Trial

REHEARSAL = "objectives.rehearsing"
CANDIDATES = Candidates(({"lr": 0.1}, {"lr": 0.2}))


@pytest.fixture(params=["inline", "process"])
def evaluator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Evaluator]:
    evaluator = make_evaluator(objectives.leaving_files, tmp_path / "log", request.param)
    yield evaluator
    evaluator.close()


def _rehearse(evaluator: Evaluator, how: str | None = None) -> list[Said]:
    settings = {} if how is None else {"rehearsal": how}
    return list(evaluator.rehearse(REHEARSAL, CANDIDATES, TaskInfo(Path("data"), settings=settings)))


def test_a_rehearsal_runs_where_trials_do(evaluator: Evaluator, tmp_path: Path) -> None:
    said = _rehearse(evaluator)
    assert said[:2] == [Said("counting"), Said("2 pipelines", fact=True)]
    (result,) = evaluator.evaluate(Trial(0, {}, 1), TaskInfo(tmp_path), None)
    Path(result.info["file"]).unlink()
    assert said[2] == Said(f"process {result.info['pid']}", fact=True)


@pytest.mark.parametrize(
    ("how", "error"),
    [("mistake", ConfigError), ("gone", EnvironmentFault), ("unexplained", EnvironmentFault)],
)
def test_what_breaks_a_rehearsal_is_told(evaluator: Evaluator, how: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=how):
        _rehearse(evaluator, how)
    assert len(_rehearse(evaluator)) == 3  # and it may be tried again


def test_a_process_that_dies_of_a_rehearsal_is_a_fault(tmp_path: Path) -> None:
    evaluator = make_evaluator(objectives.good, tmp_path / "log", "process")
    with pytest.raises(EnvironmentFault, match="exit code 3"):
        _rehearse(evaluator, "die")
    assert len(_rehearse(evaluator)) == 3
    evaluator.close()


def test_a_rehearsal_that_cannot_be_imported_is_a_fault(evaluator: Evaluator) -> None:
    with pytest.raises(EnvironmentFault, match="nowhere"):
        list(evaluator.rehearse("objectives.nowhere", CANDIDATES, TaskInfo(Path("data"))))


def test_a_run_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "run")
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"cannot be written to: Not a directory.*run_dir=DIR"):
        check_writable(tmp_path / "file" / "run")
    assert not (tmp_path / "new").exists()


def test_a_disk_without_room_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "free_disk", lambda path: 2 * 10**9)
    assert check_room(tmp_path, 2 * 10**9 - LEAST_DISK) == 2 * 10**9
    with pytest.raises(EnvironmentFault, match=r"2\.0 GB free.* may take 2\.1 GB\. Make room"):
        check_room(tmp_path, 2_100_000_000 - LEAST_DISK)
    own = Preflight(None, CANDIDATES, TaskInfo(tmp_path), tmp_path)
    evaluator = make_evaluator(objectives.good, tmp_path / "log", "inline")
    assert own.run(evaluator, pytest.fail) == ("2.0 GB free",)
    monkeypatch.setattr(resources, "free_disk", lambda path: 1)
    with pytest.raises(EnvironmentFault, match="the same command goes on"):
        own.run(evaluator, pytest.fail)


def test_a_machine_without_memory_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory", lambda: (10**10, 10**9))
    check_memory(10**9)
    with pytest.raises(EnvironmentFault, match=r"1\.0 GB of memory are free, and training takes 2\.5 GB"):
        check_memory(2_500_000_000)
    monkeypatch.setattr(resources, "memory", lambda: (None, None))  # a system that does not say
    check_memory(10**18)


def test_sizes_and_the_summary_in_words() -> None:
    assert [in_words(size) for size in (12 * 10**6, 1_440_000_000, 61 * 10**9)] == [
        "12 MB",
        "1.4 GB",
        "61 GB",
    ]
    assert summary(["device cpu", "40 GB free"]) == "Checked: device cpu, 40 GB free"
