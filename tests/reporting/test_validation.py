"""Predictions of the validation images, confusion and calibration."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import CLASSES, write_image_folder
from qtt.data.image_folder import scan_image_folder
from qtt.data.sources import list_task
from qtt.data.walking import name_within
from qtt.finetune.cv.classification import extract_task_info_metafeat
from qtt.finetune.cv.classification.report import images_root, thumbnail, validate
from qtt.reporting.calibration import calibration_chart, wilson_interval
from qtt.reporting.confusion import confusion_chart
from qtt.reporting.kept_predictions import FOLDER
from qtt.reporting.mistakes import SHOWN, mistakes_html
from qtt.reporting.validated import Validated, confusion_matrix, worst_mistakes
from qtt.runs.kept_models import KeptModel
from qtt.types import TaskInfo

Keep = Callable[..., KeptModel]


def _never() -> None:
    pytest.fail("the images were classified again")


def _task(path: Path) -> TaskInfo:
    return TaskInfo(path=path, class_names=CLASSES, settings={"device": "cpu"})


def _seen(labels: list[int], predicted: list[int], confidence: list[float] | None = None) -> Validated:
    """Predictions of three classes; the rest of the probability goes to the others alike."""
    sure = confidence or [0.8] * len(labels)
    probabilities = np.array([[(1 - s) / 2] * 3 for s in sure], dtype=np.float32)
    probabilities[np.arange(len(labels)), predicted] = sure
    names = tuple(f"{i}.png" for i in range(len(labels)))
    return Validated(probabilities, np.array(labels), names, CLASSES)


def test_confusion_counts_are_those_of_a_hand_computation() -> None:
    seen = _seen([0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 0, 2, 2, 0])
    expected = [[1, 2, 0], [1, 1, 0], [1, 0, 2]]
    np.testing.assert_array_equal(confusion_matrix(seen.labels, seen.predicted, 3), expected)
    assert seen.accuracy == 0.5
    assert "8 validation images: 4 right, 4 wrong (accuracy 0.5000)" in confusion_chart(seen, "images").note


def test_the_worst_confusion_comes_first_with_its_surest_image_first() -> None:
    seen = _seen([0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 0, 2], [0.9, 0.6, 0.7, 0.8, 0.95, 0.9])
    first, second = worst_mistakes(seen, most=6)
    assert (first.true, first.predicted, first.examples, first.of) == (0, 1, (2, 1), 3)
    assert (second.true, second.predicted, second.examples) == (1, 0, (4,))
    assert len(worst_mistakes(seen, most=1)) == 1


def test_intervals_are_wilsons() -> None:
    low, high = wilson_interval(np.array([0.5, 1.0]), np.array([10.0, 10.0]))
    np.testing.assert_allclose(low, [0.2366, 0.7225], atol=1e-4)  # tables, e.g. Newcombe 1998
    np.testing.assert_allclose(high, [0.7634, 1.0], atol=1e-4)


def test_a_network_is_called_too_sure_only_beyond_chance() -> None:
    notes = [
        calibration_chart(_seen([0] * 50, [0] * right + [1] * (50 - right), [sure] * 50)).note
        for right, sure in ((20, 0.9), (48, 0.6), (40, 0.82))
    ]
    assert "too sure of itself" in notes[0]
    assert "less sure than it could be" in notes[1]
    assert "agree within their error" in notes[2]


def test_of_many_classes_the_most_confused_are_shown() -> None:
    classes, rng = 60, np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 10)
    predicted = labels.copy()
    predicted[labels == 57] = 3
    probabilities = np.full((len(labels), classes), 0.001, dtype=np.float32)
    probabilities[np.arange(len(labels)), predicted] = 0.9 + 0.05 * rng.random(len(labels))
    names = tuple(f"class {i}" for i in range(classes))
    drawn = confusion_chart(Validated(probabilities, labels, ("x",) * len(labels), names))
    assert "Shown are the 24 classes with most mistakes of 60" in drawn.note
    assert "class 57" in drawn.svg
    assert "class 59" not in drawn.svg


def test_pictures_of_mistakes_are_small_and_embedded(photos: Path) -> None:
    paths = tuple(path for path, _ in scan_image_folder(photos).val)
    labels = np.repeat([0, 1, 2], 5)
    seen = replace(_seen(labels.tolist(), [1] * 15), names=tuple(map(str, paths)))
    html = mistakes_html(seen, "images", lambda i: thumbnail(paths[i]))
    assert html.count('src="data:image/jpeg;base64,') == 2 * min(SHOWN, 5)
    assert "amber → blue" in html
    assert "labelled amber, taken for blue with probability 0.80" in html
    assert len(html) < 60_000


def test_pictures_are_found_beside_their_table(photos: Path, tmp_path: Path) -> None:
    rows = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    task, _ = extract_task_info_metafeat(tmp_path / "labels.csv", images=photos)
    root = images_root(task)
    names = [name_within(root, path) for path, _ in list_task(task).val]
    assert all(thumbnail(root / name) for name in names)
    assert images_root(_task(photos)) == photos


def test_no_mistakes_and_lost_images_are_said_so() -> None:
    assert "None of the validation images is misclassified" in mistakes_html(_seen([0, 1], [0, 1]), "images")
    gone = mistakes_html(_seen([0, 1], [1, 1]), "images", lambda i: None)
    assert "Images that are gone cannot be shown" in gone


def test_what_has_no_picture_is_named() -> None:
    html = mistakes_html(_seen([0, 1], [1, 1]), "rows")
    assert "0.png" in html
    assert "<img" not in html


def test_predictions_are_kept_and_used_again(tmp_path: Path, photos: Path, keep_network: Keep) -> None:
    kept, calls = keep_network(tmp_path, 0.4), []
    first = validate(kept, _task(photos), tmp_path, lambda: calls.append(1))
    assert isinstance(first, Validated)
    assert len(first.labels) == len(scan_image_folder(photos).val)
    np.testing.assert_allclose(first.probabilities.sum(1), 1, atol=1e-5)
    with np.load(tmp_path / FOLDER / "incumbent.npz", allow_pickle=False) as file:
        assert set(file.files) == {"about", "probabilities"}
    again = validate(kept, _task(photos), tmp_path, _never)
    assert isinstance(again, Validated)
    np.testing.assert_array_equal(again.probabilities, first.probabilities)
    assert again.names == first.names
    assert calls == [1]


@pytest.mark.parametrize("what", ["epoch", "images", "file"])
def test_what_has_changed_is_predicted_again(tmp_path: Path, keep_network: Keep, what: str) -> None:
    data = write_image_folder(tmp_path / "photos", {"train": 2, "val": 2})
    kept, calls = keep_network(tmp_path, 0.4), []
    validate(kept, _task(data), tmp_path, lambda: calls.append(1))
    if what == "epoch":
        kept = replace(kept, fidelity=3)
    elif what == "images":
        Image.new("RGB", (32, 32)).save(data / "val" / CLASSES[0] / "more.png")
    else:
        (tmp_path / FOLDER / "incumbent.npz").write_bytes(b"half a file")
    seen = validate(kept, _task(data), tmp_path, lambda: calls.append(1))
    assert isinstance(seen, Validated)
    assert len(seen.labels) == (7 if what == "images" else 6)
    assert calls == [1, 1]


def test_of_a_dataset_that_is_gone_only_kept_predictions_remain(tmp_path: Path, keep_network: Keep) -> None:
    data = write_image_folder(tmp_path / "photos", {"train": 2, "val": 2})
    kept = keep_network(tmp_path, 0.4)
    before = validate(kept, _task(data), tmp_path, lambda: None)
    shutil.rmtree(data)
    after = validate(kept, _task(data), tmp_path, _never)
    assert isinstance(before, Validated)
    assert isinstance(after, Validated)
    np.testing.assert_array_equal(after.labels, before.labels)
    shutil.rmtree(tmp_path / FOLDER)
    told = validate(kept, _task(data), tmp_path, _never)
    assert isinstance(told, str)
    assert f"There is no dataset folder at {data}" in told


def test_other_classes_and_damaged_weights_give_a_sentence(
    tmp_path: Path, photos: Path, keep_network: Keep
) -> None:
    kept = keep_network(tmp_path / "a", 0.4, classes=("x", "y", "z"))
    told = validate(kept, _task(photos), tmp_path / "a", _never)
    assert isinstance(told, str)
    assert "no longer those" in told
    broken = keep_network(tmp_path / "b", 0.4)
    broken.weights.write_bytes(b"nothing")
    told = validate(broken, _task(photos), tmp_path / "b", lambda: None)
    assert isinstance(told, str)
    assert "cannot be loaded" in told
