import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from images import CLASSES, write_image_folder
from qtt.data.digits import digits_folder
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
    with pytest.raises(DatasetError, match=r"1 of 48 images below .* cannot be read:\n  train/blue/003\.png: cannot identify"):
        extract_task_info_metafeat(tmp_path)


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
