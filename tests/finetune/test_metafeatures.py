import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from images import CLASSES, write_image_folder
from qtt.data.digits import digits_folder
from qtt.data.sources import Source, list_task
from qtt.errors import DatasetError
from qtt.finetune.cv.classification import extract_task_info_metafeat
from qtt.types import MetaFeatures, TaskInfo


def test_digits() -> None:
    task, features = extract_task_info_metafeat(digits_folder())
    assert task.class_names == tuple("0123456789")
    assert features == MetaFeatures(len(list(task.path.glob("train/*/*"))), 10, 32, 1)


def test_training_images_are_counted_after_the_split(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 10}, side=20)
    task, features = extract_task_info_metafeat(tmp_path, val_fraction=0.3, seed=5)
    assert features == MetaFeatures(train_images=21, num_classes=3, image_size=20, channels=3)
    assert (task.path, task.class_names) == (tmp_path.resolve(), CLASSES)
    assert (task.val_fraction, task.seed) == (0.3, 5)


def test_image_size_is_the_median_shorter_side(tmp_path: Path) -> None:
    sizes = [(10, 90), (90, 20), (30, 30), (40, 80), (500, 50)] * 2
    for index, size in enumerate(sizes):
        for split in ("train", "val"):
            path = tmp_path / split / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", size).save(path)
    task, features = extract_task_info_metafeat(tmp_path)
    assert features == MetaFeatures(10, 2, 30, 1)
    assert task.image_size == 30
    assert TaskInfo.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_names_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "train" / "blue" / "003.png").write_bytes(b"no image")
    with pytest.raises(
        DatasetError, match=r"1 of 48 images below .* cannot be read:\n  train/blue/003\.png: cannot identify"
    ):
        extract_task_info_metafeat(tmp_path)


def test_what_should_make_one_stop_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 60})
    extract_task_info_metafeat(root)
    assert caplog.records == []
    (root / "train" / "blue" / "003.png").write_bytes(b"no image")
    task, features = extract_task_info_metafeat(root)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "train/blue/003.png (cannot identify image file)" in caplog.text
    assert features.train_images == len(list_task(task).train) == 143
    with pytest.raises(DatasetError, match="1 of 180 images"):
        extract_task_info_metafeat(root, max_bad=0)


def test_a_table_is_described_like_the_folder_that_it_lists(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 5, "val": 2, "test": 1})
    rows = [
        f"{path.relative_to(root).as_posix()},{path.parent.name},{path.parent.parent.name}"
        for path in sorted(root.rglob("*.png"))
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["where,what,part", *rows]))
    task, features = extract_task_info_metafeat(
        tmp_path / "labels.csv", images=root, file_column="where", label_column="what", split_column="part"
    )
    folder_task, folder_features = extract_task_info_metafeat(root)
    assert features == folder_features
    assert task.class_names == folder_task.class_names
    assert TaskInfo.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    for split in ("train", "val", "test"):
        assert list_task(task).split(split) == list_task(folder_task).split(split)


def test_a_source_brings_its_options_along(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    task, _ = extract_task_info_metafeat(Source.of(root, max_pixels=2000))
    assert task.source == {"max_pixels": 2000}
    assert extract_task_info_metafeat(root)[0].source == {}  # and the bound is taken back


def test_describing_a_dataset_needs_no_torch() -> None:
    code = (
        "import sys; from qtt.finetune.cv.classification import extract_task_info_metafeat, FinetuneSettings;"
        "import qtt.data.digits; print({'torch', 'lightning', 'timm', 'sklearn'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_names_of_the_package() -> None:
    import qtt.finetune.cv.classification as package

    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'finetune'"):
        _ = package.finetune
