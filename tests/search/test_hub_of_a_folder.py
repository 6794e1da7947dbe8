"""A hub that is a folder of weights: its files are found by the search, and after it."""

from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from images import write_image_folder
from qtt import QuickTuner, get_pretrained_optimizer
from qtt.finetune.cv.classification import extract_task_info_metafeat, finetune_script
from qtt.hub.model_hub import ModelHub
from qtt.runs.record import RunRecord


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    save_file(timm.create_model("test_resnet").state_dict(), folder / "test_resnet.mine.safetensors")
    return folder


@pytest.mark.parametrize("relative", [False, True])
def test_a_search_over_a_folder_finds_its_weights(
    weights: Path, relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = write_image_folder(tmp_path / "images")
    task, metafeatures = extract_task_info_metafeat(dataset)
    hub = "weights" if relative else weights
    optimizer = get_pretrained_optimizer("cold", model_hub=hub)
    optimizer.setup(2, metafeatures)
    tuner = QuickTuner(optimizer, finetune_script, tmp_path / "run", trackers=[], isolation="inline")
    summary = tuner.run(task, evaluations=1)
    assert not summary.history.failed
    assert summary.incumbent is not None
    record = RunRecord.load(tmp_path / "run")
    assert record.task_here().weights_dir == weights


def test_a_task_that_names_a_folder_keeps_it(weights: Path, tmp_path: Path) -> None:
    hub = ModelHub.load(weights)
    assert hub.weights_dir == weights
    assert hub.subset(hub.names).weights_dir == weights
    assert "weights_dir" not in hub.to_dict()
    other = tmp_path / "other"
    other.mkdir()
    (other / "test_resnet.mine.safetensors").symlink_to(weights / "test_resnet.mine.safetensors")
    dataset = write_image_folder(tmp_path / "images")
    task, metafeatures = extract_task_info_metafeat(dataset)
    from dataclasses import replace

    optimizer = get_pretrained_optimizer("cold", model_hub=hub)
    optimizer.setup(1, metafeatures)
    tuner = QuickTuner(optimizer, finetune_script, tmp_path / "run", trackers=[], isolation="inline")
    tuner.run(replace(task, weights_dir=other), evaluations=1)
    assert RunRecord.load(tmp_path / "run").task_here().weights_dir == other
