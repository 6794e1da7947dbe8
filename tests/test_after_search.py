"""The commands that follow a search, on a small one that really trained."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from qtt import export, leaderboard, predict
from qtt.finetune import __main__ as finetune
from qtt.finetune.cv.classification.predictor import load_predictor
from qtt.runs.record import RunRecord
from qtt.statistics import __main__ as statistics
from qtt.support.announcements import announce

Output = pytest.CaptureFixture[str]


@pytest.fixture
def run(kept_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_run, tmp_path / "run"))


@pytest.fixture
def images(kept_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(RunRecord.load(kept_run).task.path / "test", tmp_path / "images"))


def test_predict_writes_a_table(kept_run: Path, images: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "new" / "p.csv"
    assert predict.main([str(kept_run), str(images), "--out", str(out), "--top", "2"]) == 0
    written = pd.read_csv(out)
    expected = load_predictor(kept_run).predict(images).to_frame(top=2)
    assert list(written["path"]) == list(expected["path"])
    assert list(written["class_2"]) == list(expected["class_2"])
    assert written["probability"].to_numpy() == pytest.approx(expected["probability"].to_numpy(), abs=1e-6)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "15 images, pipeline #" in shown.out
    assert f"Predictions of 15 images are in {out}" in shown.out
    assert f"-m qtt.leaderboard {kept_run} TEST_DIR" in shown.out


def test_predict_lists_what_it_cannot_read(
    kept_run: Path, images: Path, tmp_path: Path, capsys: Output
) -> None:
    (images / "amber" / "000.png").write_bytes(b"")
    (images / "blue" / "004.png").write_text("hello")
    named = tmp_path / "no_extension"
    Image.new("L", (40, 60)).save(named, "PNG")
    out = tmp_path / "p.csv"
    assert predict.main([str(kept_run), str(images), str(named), "--out", str(out)]) == predict.UNREADABLE
    shown = capsys.readouterr()
    assert shown.err.count("cannot be read") == 2
    assert "000.png" in shown.err and "004.png" in shown.err
    assert "2 of 16 images cannot be read and are left out." in shown.out
    assert len(pd.read_csv(out)) == 14
    assert pd.read_csv(out)["path"].iloc[-1] == str(named)


def test_predict_keeps_what_was_computed_before_an_interrupt(
    kept_run: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtt.finetune.cv.classification.predictor import ImagePredictor

    whole = ImagePredictor.stream

    def interrupted(self, images, **kwargs):  # type: ignore[no-untyped-def]
        yield next(whole(self, images, **kwargs))
        raise KeyboardInterrupt

    monkeypatch.setattr(ImagePredictor, "stream", interrupted)
    for number in range(70):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{number:02d}.png")
    out = tmp_path / "p.csv"
    assert predict.main([str(kept_run), str(tmp_path), "--out", str(out)]) == 130
    assert len(pd.read_csv(out)) == 64
    assert "Interrupted after 64 of 70 images." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}", "{images}", "--model", "17"], "Unknown network '17'"),
        (["{run}", "{images}", "--top", "4"], "--top 4: there are 3 classes."),
        (["{run}", "{images}/gone"], "There is no file or folder"),
        (["{images}", "{images}"], "A run folder has at least"),
    ],
)
def test_predict_explains_errors(
    arguments: list[str], words: str, kept_run: Path, images: Path, tmp_path: Path, capsys: Output
) -> None:
    filled = [argument.format(run=kept_run, images=images) for argument in arguments]
    with pytest.raises(SystemExit) as exit_:
        predict.main([*filled, "--out", str(tmp_path / "p.csv")])
    assert exit_.value.code == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_leaderboard_shows_every_network_and_what_is_wrong(
    kept_run: Path, images: Path, tmp_path: Path, capsys: Output
) -> None:
    shutil.rmtree(images / "blue")
    (images / "coral" / "001.png").write_bytes(b"")
    shutil.copytree(images / "amber", images / "zebra")
    with pytest.raises(SystemExit):
        leaderboard.main([str(kept_run), str(images)])
    assert "'zebra' (5 images)" in capsys.readouterr().err
    out = tmp_path / "l.csv"
    assert leaderboard.main([str(kept_run), str(images), "--ignore-unknown", "--csv", str(out)]) == 0
    shown = capsys.readouterr().out
    kept = RunRecord.load(kept_run).kept()
    assert f"{len(kept)} networks on 9 images" in shown
    assert "accuracy" in shown and "recall" in shown and "ECE" in shown and "params (M)" in shown
    assert "5 images of classes that the search does not know are left out: zebra (5)." in shown
    assert "about which nothing is said: blue." in shown
    assert "1 images cannot be read and are left out: Image " in shown
    assert set(pd.read_csv(out)["name"]) == {model.name for model in kept}


def test_export_says_what_was_checked(kept_run: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "out"
    assert export.main([str(kept_run), "--out", str(out), "--model", "1", "--no-onnx"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "Pipeline #1: test_vit, epoch " in shown.out
    assert "gives the network's outputs on 21 validation images" in shown.out
    assert "the same class for 21 of 21" in shown.out
    assert "model.onnx" not in shown.out
    assert shown.out.strip().endswith(f'timm.create_model("local-dir:{out}", pretrained=True)')
    with pytest.raises(SystemExit):
        export.main([str(kept_run), "--out", str(kept_run)])
    assert "holds other files" in capsys.readouterr().err


def test_statistics_are_printed_and_written(kept_run: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "s.csv"
    assert statistics.main([str(kept_run), "--csv", str(out), "--top", "1"]) == 0
    shown = capsys.readouterr().out
    observed = RunRecord.load(kept_run).history.observed
    assert f"Best 1 of {len(observed)} pipelines" in shown
    assert f"-m qtt.finetune {kept_run}" in shown
    frame = pd.read_csv(out)
    assert sorted(frame["config_id"]) == sorted(observed)


def test_finetune_trains_on_and_shows_the_best(run: Path, capsys: Output) -> None:
    shutil.rmtree(run / "finetuned")
    (run / "finetuning.jsonl").unlink()
    assert finetune.main([str(run), "--k", "1", "--budget", "60"]) == 0
    shown = capsys.readouterr().out
    record = RunRecord.load(run)
    best = record.history.ranking()[0]
    assert {entry.result.config_id for entry in record.finetuning} == {best}
    assert f"test accuracy of {record.best_model().name}: " in shown
    assert "kept networks" in shown
    assert f"-m qtt.predict {run} FILES" in shown
    assert (record.best_model().folder / "test.json").is_file()


def test_an_interrupted_finetune_says_how_to_go_on(
    run: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune.QuickTuner, "finetune", interrupt)
    assert finetune.main([str(run), "--k", "2"]) == 130
    shown = capsys.readouterr().out
    assert "everything finished is kept" in shown
    assert shown.strip().endswith(f"-m qtt.finetune {run} --k 2")


def test_a_mistyped_path_costs_no_earlier_predictions(
    kept_run: Path, images: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "p.csv"
    out.write_text("earlier")
    with pytest.raises(SystemExit, match="1"):
        predict.main([str(kept_run), str(tmp_path / "typo"), "--out", str(out)])
    assert f"There is no file or folder {tmp_path / 'typo'}." in capsys.readouterr().err
    (tmp_path / "empty.png").touch()
    assert predict.main([str(kept_run), str(tmp_path / "empty.png"), "--out", str(out)]) == predict.UNREADABLE
    assert f"{out} is not written" in capsys.readouterr().out
    assert out.read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"p.csv", "empty.png", "images"}


def test_pictures_that_nobody_can_open_are_told_of(
    kept_run: Path, images: Path, tmp_path: Path, capsys: Output
) -> None:
    announce.cache_clear()
    for number in range(3):
        (images / f"{number}.dng").touch()
    (images / ".hidden.dng").touch()
    assert predict.main([str(kept_run), str(images), "--out", str(tmp_path / "p.csv")]) == 0
    assert "Not used: 3 .dng, which cannot be opened here" in capsys.readouterr().out


def test_a_leaderboard_of_the_searchs_own_images_says_so(
    kept_run: Path, images: Path, capsys: Output
) -> None:
    assert leaderboard.main([str(kept_run), str(RunRecord.load(kept_run).task.path / "val")]) == 0
    shown = capsys.readouterr().out
    assert "21 of these images trained the networks or chose among them" in shown
    assert "chose nothing" not in shown


def test_seconds_have_units_here_too(run: Path) -> None:
    options = finetune._parser().parse_args([str(run), "--budget", "1min"])
    assert options.budget == 60


@pytest.mark.parametrize("arguments", [["--k", "0"], ["--budget", "-1"], ["--budget", "soon"]])
def test_impossible_numbers_are_refused(arguments: list[str], run: Path, capsys: Output) -> None:
    with pytest.raises(SystemExit) as exit_:
        finetune.main([str(run), *arguments])
    assert exit_.value.code == 2
    assert f"argument {arguments[0]}" in capsys.readouterr().err


def test_a_user_may_have_trained_without_a_hub(tmp_path: Path, capsys: Output) -> None:
    import objectives
    from qtt.optimizers.random import EpochwiseRandomOptimizer
    from qtt.search.tuner import QuickTuner
    from qtt.types import Candidates, TaskInfo

    optimizer = EpochwiseRandomOptimizer(seed=1, max_fidelity=3)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(3))))
    tuner = QuickTuner(optimizer, objectives.continuing, tmp_path / "own", trackers=(), isolation="inline")
    tuner.run(TaskInfo(path=Path("digits"), class_names=("a", "b")), evaluations=3)
    assert finetune.main([str(tmp_path / "own"), "--objective", "objectives:continuing"]) == 0
    assert "test accuracy" not in capsys.readouterr().out
    for command, more in ((predict, [str(tmp_path)]), (export, [])):
        with pytest.raises(SystemExit):
            command.main([str(tmp_path / "own"), *more])
        assert "had an objective of its own and no task" in capsys.readouterr().err
