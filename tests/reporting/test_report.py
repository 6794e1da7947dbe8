"""The report of one run, as the command writes it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qtt import report
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.reporting.run_page import run_report
from qtt.reporting.run_view import RunView
from qtt.runs.folder import RunFolder
from qtt.runs.kept_models import FINETUNED, KeptModel
from qtt.search.tuner import QuickTuner
from qtt.support.files import write_json
from qtt.types import Candidates, Result, TaskInfo, Trial
from web_pages import WebPage

WriteRun = Callable[..., RunView]
Keep = Callable[..., KeptModel]
Told = list[tuple[float, Result]]


def _report(folder: Path) -> WebPage:
    """Write the report of a folder by the command and read it."""
    assert report.main([str(folder)]) == 0
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "Traceback" not in html
    return WebPage(html)


def test_a_whole_run_is_told(
    tmp_path: Path, write_run: WriteRun, results: Told, photos: Path, keep_network: Keep
) -> None:
    run = tmp_path / "run"
    write_run(run, results, dataset=photos, config={"seed": 0, "budget": {"seconds": 60.0}})
    keep_network(run, 0.8)
    write_json(run / "incumbent" / "test.json", {"test accuracy": 0.7654})
    page = _report(run)
    for text in (
        "4 candidates with 2 models",
        "validation accuracy 0.8000",
        "test accuracy 0.7654",
        "budget: 1 min",
        "CUDA out of memory",
        "loss is NaN",
        "Only 3 pipelines finished an epoch; 10 are the least",
        "Confusion matrix",
        "Expected calibration error",
        "Worst confusions",
        "Resolved configuration",
        str(photos),
    ):
        assert text in page.text.replace("\u00a0", " "), text
    for section in ("Search", "Hyperparameters", "Mistakes", "Pipelines", "Kept networks", "Settings"):
        assert section in page.sections
    figures = {path.name for path in (run / "figures").iterdir()}
    for name in (
        "incumbent",
        "learning-curves",
        "budget",
        "confusion",
        "calibration",
        "score-against-parameters",
    ):
        assert {f"{name}.svg", f"{name}.png"} <= figures


def test_the_page_refers_to_nothing_outside(
    tmp_path: Path, write_run: WriteRun, results: Told, photos: Path, keep_network: Keep
) -> None:
    run = tmp_path / "run"
    write_run(run, results, dataset=photos)
    keep_network(run, 0.8)
    page = _report(run)
    assert page.references
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    html = (run / "report.html").read_text()
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", html)
    assert "url(" not in re.sub(r"url\(#[^)]+\)", "", html)
    assert "@import" not in html
    assert len(page.ids) == len(set(page.ids))
    anchors = {reference[1:] for reference in page.references if reference.startswith("#")}
    assert anchors <= set(page.ids)
    assert len(html) < 5_000_000


def test_everything_from_outside_is_escaped(tmp_path: Path, write_run: WriteRun, keep_network: Keep) -> None:
    evil = '<script>alert("x")</script>'
    run = tmp_path / f"run{evil.replace('/', '')}"
    configs = [{"model": evil, evil: evil}, {"model": f"{evil}2", evil: 1}]
    failed = Result(1, 1, float("nan"), 1.0, "failed", {"reason": evil})  # type: ignore[arg-type]
    write_run(
        run,
        [(1.0, Result(0, 1, 0.5, 1.0)), (2.0, failed)],
        configs=configs,
        classes=(evil, "b"),
        dataset=Path(evil),
        config={"note": evil, "seed": 0},
        budget={"seconds": 1.0},
    )
    write_json(run / "environment.json", {"python": evil, "packages": {evil: evil}, "command": [evil]})
    keep_network(run, 0.5)
    write_json(run / "incumbent" / "test.json", {evil: 0.5})
    html = run_report(RunView.load(run)).html
    assert html.count("<script>") == 1  # ours
    assert "alert(&quot;x&quot;)" in html
    WebPage(html)


def test_the_same_folder_gives_the_same_files(
    tmp_path: Path, write_run: WriteRun, results: Told, photos: Path, keep_network: Keep
) -> None:
    run = tmp_path / "run"
    write_run(run, results, dataset=photos)
    keep_network(run, 0.8)
    contents = []
    for _ in range(2):
        _report(run)
        files = [run / "report.html", *sorted((run / "figures").iterdir())]
        contents.append({file.name: file.read_bytes() for file in files})
    assert contents[0] == contents[1]


def test_a_report_changes_nothing_else(tmp_path: Path, write_run: WriteRun, results: Told) -> None:
    run = tmp_path / "run"
    write_run(run, results)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    out, figures = tmp_path / "else" / "r.html", tmp_path / "pictures"
    assert report.main([str(run), "--out", str(out), "--figures", str(figures)]) == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert out.is_file()
    assert (figures / "incumbent.svg").is_file()


def test_a_killed_search_has_a_report(tmp_path: Path, write_run: WriteRun, results: Told) -> None:
    run = tmp_path / "run"
    write_run(run, results[:5])
    with (run / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"elapsed": 16.0, "config_')
    before = (run / "journal.jsonl").read_bytes()
    page = _report(run)
    assert "it was interrupted or still runs" in page.text
    assert "3 epochs" not in page.text
    assert "4 epochs of 3 pipelines" in page.text
    assert (run / "journal.jsonl").read_bytes() == before


def test_a_running_search_has_a_report(tmp_path: Path, write_run: WriteRun, results: Told) -> None:
    run = tmp_path / "run"
    write_run(run, results[:2])
    with RunFolder(run):
        assert "it was interrupted or still runs" in _report(run).text


def test_without_the_dataset_a_sentence_says_why(
    tmp_path: Path, write_run: WriteRun, results: Told, photos: Path, keep_network: Keep
) -> None:
    run, data = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(photos, data)
    write_run(run, results, dataset=data)
    keep_network(run, 0.8)
    shutil.rmtree(data)
    page = _report(run)
    assert f"cannot be classified: There is no dataset folder at {data}" in page.text
    assert "Confusion matrix" not in page.text


def test_before_the_first_epoch_there_is_a_report(tmp_path: Path, write_run: WriteRun, results: Told) -> None:
    write_run(tmp_path / "empty", [])
    page = _report(tmp_path / "empty")
    assert "No pipeline has finished an epoch yet" in page.text
    write_run(tmp_path / "failed", [results[2]])
    page = _report(tmp_path / "failed")
    assert "those that began failed" in page.text
    assert "CUDA out of memory" in page.text


def _own(trial: Trial, task: TaskInfo) -> dict[str, float]:
    return {
        "config_id": trial.config_id,
        "fidelity": trial.fidelity,
        "score": -trial.config["x"],
        "cost": 0.1,
    }


def test_an_objective_of_ones_own_has_a_report(tmp_path: Path) -> None:
    optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=3)
    optimizer.setup(Candidates(tuple({"x": 100.0 * i} for i in range(12))))
    run = tmp_path / "own"
    QuickTuner(optimizer, _own, run, trackers=(), isolation="inline").run(evaluations=30)
    page = _report(run)
    assert "own: #0" in page.text
    assert "score -0.0000" in page.text.replace("score 0.0000", "score -0.0000")
    assert "validation accuracy" not in page.text
    assert "no weights were kept" in page.text
    assert "it was called from Python" in page.text


def test_finetuned_networks_are_listed(
    tmp_path: Path, write_run: WriteRun, results: Told, photos: Path, keep_network: Keep
) -> None:
    run = tmp_path / "run"
    write_run(run, results, dataset=photos)
    kept = keep_network(run, 0.8)
    shutil.copytree(kept.folder, run / FINETUNED / "0000")
    facts = json.loads((run / FINETUNED / "0000" / "model.json").read_text())
    write_json(run / FINETUNED / "0000" / "model.json", facts | {"fidelity": 9, "score": 0.9123})
    RunFolder(run).finetuning.append(Result(0, 9, 0.9123, 1.0), 3.0)
    page = _report(run)
    assert "finetuned/0000" in page.text
    assert "after finetuning 0.9123" in page.text
    assert "finetuned afterwards" in page.text


def test_a_kept_network_that_cannot_be_read_is_a_warning(
    tmp_path: Path, write_run: WriteRun, results: Told, keep_network: Keep
) -> None:
    run = tmp_path / "run"
    write_run(run, results)
    keep_network(run, 0.8)
    (run / "incumbent" / "model.json").write_text("{}")
    assert "cannot be read as the description of a network" in _report(run).text


def test_a_folder_that_is_no_run_is_an_error_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        report.main([str(tmp_path)])
    assert stop.value.code == 1
    assert "candidates.json" in capsys.readouterr().err


def test_several_runs_are_compared_beside_them(
    tmp_path: Path, write_run: WriteRun, results: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / "sweep" / name, results)
    assert report.main([str(tmp_path / "sweep")]) == 0
    assert str(tmp_path / "sweep" / "compare.html") in capsys.readouterr().out
    assert (tmp_path / "sweep" / "figures" / "compare-incumbent.png").is_file()
    first = (tmp_path / "sweep" / "compare.html").read_bytes()
    assert report.main([str(tmp_path / "sweep" / "a"), str(tmp_path / "sweep" / "b")]) == 0
    assert (tmp_path / "sweep" / "compare.html").read_bytes() == first
    WebPage(first.decode())


def test_the_command_says_where_and_what_next(
    tmp_path: Path, write_run: WriteRun, results: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", results)
    assert report.main([str(tmp_path / "run")]) == 0
    out = capsys.readouterr()
    assert str(tmp_path / "run" / "report.html") in out.out
    assert "-m webbrowser file://" in out.out
    assert out.err == ""


def test_a_place_that_cannot_be_written_is_an_error_for_people(
    tmp_path: Path, write_run: WriteRun, results: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", results)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        report.main([str(tmp_path / "run"), "--figures", str(tmp_path / "file")])
    assert "--figures" in capsys.readouterr().err
