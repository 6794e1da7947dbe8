"""The leaderboard, on clean test images and on such as people have."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from images import CLASSES
from qtt.errors import ConfigError, DatasetError
from qtt.finetune.cv.classification.leaderboard import leaderboard
from qtt.finetune.cv.classification.predictor import load_predictor
from qtt.runs.record import RunRecord
from qtt.search.tuner import QuickTuner


@pytest.fixture
def record(kept_run: Path) -> RunRecord:
    return RunRecord.load(kept_run)


@pytest.fixture
def images(record: RunRecord, tmp_path: Path) -> Path:
    """Test images that may be changed: five of each class."""
    return Path(shutil.copytree(record.task.path / "test", tmp_path / "new"))


def test_every_kept_network_has_its_figures(record: RunRecord, images: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = leaderboard(record, images, watch=lambda *args: told.append(args))
    table = found.table
    kept = {model.name: model for model in record.kept()}
    assert set(table["name"]) == kept.keys()
    assert told[-1][1:] == (15, 15) and {name for name, *_ in told} == kept.keys()
    assert (found.notes, found.examples, set(table["images"])) == ((), 15, {15})
    paths = sorted(images.rglob("*.png"))
    labels = np.array([CLASSES.index(path.parent.name) for path in paths])
    for row in table.to_dict("records"):
        model = kept[row["name"]]
        predictor = load_predictor(record.path, row["name"])
        said = predictor.predict(list(paths))
        assert row["top1"] == np.mean(
            [name == CLASSES[i] for name, i in zip(said.classes, labels, strict=True)]
        )
        assert row["top3"] == 1
        wide = said.probabilities.astype(np.float64)
        loss = sklearn_metrics.log_loss(labels, wide / wide.sum(1, keepdims=True))
        assert row["log_loss"] == pytest.approx(loss, rel=1e-5)
        assert 0 <= row["calibration_error"] <= 1
        assert row["images_per_second"] > 0
        count = sum(parameter.numel() for parameter in predictor.classifier.network.parameters())
        assert row["parameters"] == count / 1e6
        assert (row["config_id"], row["validation"]) == (model.config_id, model.score)
    order = list(zip(-table["top1"], table["log_loss"], strict=True))
    assert order == sorted(order)


def test_the_folder_may_be_the_datasets(record: RunRecord) -> None:
    assert leaderboard(record, record.task.path).examples == 15


def test_an_unseen_class_is_refused_or_left_out(record: RunRecord, images: Path) -> None:
    clean = leaderboard(record, images).table
    shutil.copytree(images / "amber", images / "ambre")
    shutil.copytree(images / "amber", images / "zebra")
    with pytest.raises(DatasetError) as caught:
        leaderboard(record, images)
    assert "'ambre' (5 images); did you mean 'amber'?" in str(caught.value)
    assert "'zebra' (5 images)" in str(caught.value)
    found = leaderboard(record, images, ignore_unknown=True)
    assert list(found.notes) == [
        "10 images of classes that the search does not know are left out: ambre (5), zebra (5)."
    ]
    assert list(found.table["log_loss"]) == pytest.approx(list(clean["log_loss"]))


def test_a_missing_class_is_noted(record: RunRecord, images: Path) -> None:
    shutil.rmtree(images / "blue")
    found = leaderboard(record, images)
    assert found.examples == 10
    assert list(found.notes) == ["Classes without test images, about which nothing is said: blue."]


def test_a_corrupt_file_is_named_left_out_and_counted(record: RunRecord, images: Path) -> None:
    (images / "coral" / "003.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    found = leaderboard(record, images)
    assert found.examples == 14
    (note,) = found.notes
    assert note.startswith("1 images cannot be read and are left out: Image ")
    assert str(images / "coral" / "003.png") in note
    for path in images.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="None of the 15 test images can be read: Image "):
        leaderboard(record, images)


def test_the_tuner_gives_a_frame_and_says_what_is_wrong(
    kept_run: Path, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(images / "blue")
    shutil.copytree(images / "amber", images / "zebra")
    with caplog.at_level(logging.WARNING, "qtt"):
        table = QuickTuner.load(kept_run).leaderboard(images, ignore_unknown=True)
    assert len(table) == len(RunRecord.load(kept_run).kept())
    assert caplog.messages == table.attrs["notes"]
    assert len(caplog.messages) == 2


def test_without_kept_networks(kept_run: Path, images: Path, tmp_path: Path) -> None:
    run = shutil.copytree(kept_run, tmp_path / "run")
    for path in run.rglob("weights.safetensors"):
        path.unlink()
    with pytest.raises(ConfigError, match="holds no trained network"):
        leaderboard(RunRecord.load(run), images)


def test_a_table_names_the_images(record: RunRecord, images: Path) -> None:
    """Rows of the split `test`, or all where there are no splits, under the names of the search's classes."""
    expected = leaderboard(record, images).table
    rows = [f"{path.relative_to(images)},{path.parent.name}" for path in sorted(images.rglob("*.png"))]
    table = images / "labels.csv"
    table.write_text("\n".join(["file,label", *rows]))
    whole = leaderboard(record, table)
    figures = ["name", "top1", "log_loss", "images"]
    pd.testing.assert_frame_equal(whole.table[figures], expected[figures])
    split = [f"{row},{'test' if number % 2 else 'train'}" for number, row in enumerate(rows)]
    table.write_text("\n".join(["file,label,split", *split]))
    assert set(leaderboard(record, table).table["images"]) == {7}
    table.write_text("\n".join(["file,label", *rows[1:], rows[0].replace(",amber", ",mauve")]))
    with pytest.raises(DatasetError, match=r"does not know: mauve. Known: amber, blue, coral"):
        leaderboard(record, table)


def test_images_of_the_search_are_told_of(record: RunRecord, images: Path) -> None:
    assert leaderboard(record, images).seen == 0
    assert leaderboard(record, record.task.path / "train").seen == 24
    assert leaderboard(record, record.task.path / "val").seen == 21
